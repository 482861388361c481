"""What the author of a plugin needs to test it: a check per kind of component, and a small data set.

Each check builds the component as a run would, puts it through what :mod:`clsfit.contracts` asks of
it, and raises an AssertionError that says in one sentence what is wrong::

    from clsfit.testing import check_loss, check_metric

    def test_tversky() -> None:
        check_loss(Tversky, alpha=0.7)

    def test_gmean() -> None:
        check_metric(GMean)

``factory`` is what the offer's target names; further keyword arguments are its options. What a
factory is given by the core (``num_classes``, ``in_channels``, ...) the checks fill in. All of them
run on the CPU, in less than a second for small components.
"""

from clsfit.testing.feeding import check_augment, check_sampler, draw_pictures
from clsfit.testing.judging import check_loss, check_metric, check_model
from clsfit.testing.stepping import check_callback, check_optimizer, check_scheduler

__all__ = [
    "check_augment",
    "check_callback",
    "check_loss",
    "check_metric",
    "check_model",
    "check_optimizer",
    "check_sampler",
    "check_scheduler",
    "draw_pictures",
]
