"""What a plugin may offer, and when a callback is told what.

A plugin is an importable module named by an entry point of the group ``clsfit``::

    # pyproject.toml
    [project.entry-points.clsfit]
    tversky = "clsfit_tversky"

Its *hook module* implements some of the :class:`Offers` below. It imports nothing heavy: an offer
names its factory by a string, and the factory's module is imported when a run selects it::

    # clsfit_tversky/__init__.py
    from clsfit import Component, hookimpl

    @hookimpl
    def clsfit_losses():
        yield Component("tversky", "clsfit_tversky.loss:Tversky", "Tversky index, for rare classes")

What the factory is given, and what it owes, is written in :mod:`clsfit.contracts`.

:class:`Moments` are for callbacks. An object whose methods carry ``@hookimpl`` is told of them during
the runs whose configuration names it, and never otherwise: installing a plugin changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from clsfit.engine.run import Run

PROJECT = "clsfit"
"""The entry-point group, and pluggy's project name."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class Component:
    """One thing that a plugin offers.

    Attributes:
        name: what users write: ``--loss NAME``. Letters, digits, ``_``, ``-``, ``.``, ``/``;
            names of metrics, callbacks and augmentations have no dot (``--metric.NAME.PARAM``).
        target: ``"package.module:factory"``, imported when first used; for a recipe
            ``"package:path/inside/it.yaml"``.
        help: one line for listings and completion.
        params: a dataclass of torch-free types whose fields are the options. A field's help text and
            bounds are annotations: ``gamma: Annotated[float, "focus; 0 is cross entropy", Ge(0)] = 2.0``.
            Without it the target is imported, when selected, to read its signature and docstring.
        paper: URL of the source, if there is one.
        endings: for a data set only: endings of files, in lower case with the dot, that it opens where DATA is such
            a file; its option ``path`` is then DATA. Those of the core's own tables and archives stay the core's.
    """

    name: str
    target: str
    help: str
    params: type[Any] | None = None
    paper: str = ""
    endings: tuple[str, ...] = ()


class Offers:
    """Asked once per process, of each plugin by itself. Each returns any iterable of components."""

    @hookspec
    def clsfit_losses(self) -> Iterable[Component]:
        """Losses, for ``--loss``; the target owes :class:`clsfit.contracts.Loss`.

        Example::

            @hookimpl
            def clsfit_losses():
                yield Component("huber", "clsfit_huber.loss:Huber", "Huber loss on probabilities")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_optimizers(self) -> Iterable[Component]:
        """Optimizers, for ``--optimizer``; the target owes :class:`clsfit.contracts.Optimizer`.

        Example::

            @hookimpl
            def clsfit_optimizers():
                yield Component("lars", "clsfit_lars:Lars", "layer-wise adaptive rates")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_schedulers(self) -> Iterable[Component]:
        """Schedulers, for ``--scheduler``; the target owes :class:`clsfit.contracts.Scheduler`.

        Example::

            @hookimpl
            def clsfit_schedulers():
                yield Component("halving", "clsfit_halving:Halving", "half the rate every epoch")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_metrics(self) -> Iterable[Component]:
        """Metrics, for ``--metric``; the target owes :class:`clsfit.contracts.Metric`.

        Example::

            @hookimpl
            def clsfit_metrics():
                yield Component("gmean", "clsfit_gmean:GMean", "geometric mean of the recalls")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_callbacks(self) -> Iterable[Component]:
        """Callbacks, for ``--callback``; the target owes :class:`clsfit.contracts.Callback`.

        Example::

            @hookimpl
            def clsfit_callbacks():
                yield Component("bell", "clsfit_bell:Bell", "rings when the run ends")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_models(self) -> Iterable[Component]:
        """Models, for ``--model``; the target owes :class:`clsfit.contracts.Model`.

        Example::

            @hookimpl
            def clsfit_models():
                yield Component("tiny", "clsfit_tiny:build", "two layers")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_datasets(self) -> Iterable[Component]:
        """Data sets by name, in DATA's place; the target owes :class:`clsfit.contracts.Dataset`.

        Example::

            @hookimpl
            def clsfit_datasets():
                yield Component("rings", "clsfit_rings:Rings", "1,000 drawn rings and discs")
                yield Component("scans", "clsfit_rings:Scans", "scans in one file", endings=(".scans",))

        The second opens files: ``clsfit train lungs.scans`` is ``clsfit train scans --data.path lungs.scans``.

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_samplers(self) -> Iterable[Component]:
        """Samplers, for ``--sampler``; the target owes :class:`clsfit.contracts.Sampler`.

        Example::

            @hookimpl
            def clsfit_samplers():
                yield Component("easy_first", "clsfit_easy:EasyFirst", "a curriculum")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_augments(self) -> Iterable[Component]:
        """Augmentations, for ``--augment``; the target owes :class:`clsfit.contracts.Augment`.

        Example::

            @hookimpl
            def clsfit_augments():
                yield Component("snow", "clsfit_snow:Snow", "white specks")

        Since 0.1.
        """
        return ()

    @hookspec
    def clsfit_recipes(self) -> Iterable[Component]:
        """Recipes, for ``--recipe``: configuration files inside the package.

        The target is ``"package:path/inside/it.yaml"``; ``params`` stays empty.

        Example::

            @hookimpl
            def clsfit_recipes():
                yield Component("moths", "clsfit_moths:recipes/moths.yaml", "what works on moths")

        Since 0.1.
        """
        return ()


class Moments:
    """Told to the callbacks that a run names, in the order of its configuration.

    An implementation may name fewer arguments. ``run`` is a :class:`clsfit.engine.run.Run`. An
    exception ends the run with exit 8 and the callback's name; ``on_error`` and ``on_fit_end`` reach
    every callback whatever another one does.

    Where several processes train, each tells its own callbacks. All see the same weights, gradients and scores.
    ``run.ranks.rank`` says which one this is. ``run.directory`` is None but on rank 0, and in a run that writes
    nothing: what writes or sends is to ask for it first.

    The drawing of the loop with these moments in their places: ``docs/explanation/training-loop.md``.
    """

    @hookspec
    def on_fit_start(self, run: Run) -> None:
        """Once, before the first step, also of a resumed run (``run.step`` says how far it is).

        The place to choose ``run.monitor``. Model, optimizer and loaders are built, and a resumed
        run's state is loaded.

        Example::

            @hookimpl
            def on_fit_start(self, run):
                run.say(f"{sum(p.numel() for p in run.model.parameters()):,} parameters")

        Since 0.1.
        """

    @hookspec
    def on_epoch_start(self, run: Run) -> None:
        """Before an epoch's first step; not told again when a run resumes inside the epoch.

        ``run.epoch`` counts finished epochs, so it is 0 in the first one.

        Example::

            @hookimpl
            def on_epoch_start(self, run):
                if run.epoch == self.unfreeze_epoch:
                    run.model.features.requires_grad_(True)

        Since 0.1.
        """

    @hookspec
    def on_gradients(self, run: Run) -> None:
        """After the backward passes of one optimizer step, before the step.

        Gradients are of the mean loss per sample over the whole accumulation window, unscaled. They
        may be changed in place. Reading a value (``.item()``) makes the host wait for the device.

        Example::

            @hookimpl
            def on_gradients(self, run):
                torch.nn.utils.clip_grad_value_(run.parameters, 1.0)

        Since 0.1.
        """

    @hookspec
    def on_step_end(self, run: Run) -> None:
        """After an optimizer step and the scheduler's; ``run.step`` counts it already.

        The place to save a checkpoint, or to call ``run.stop(reason)``.

        Example::

            @hookimpl
            def on_step_end(self, run):
                if run.step == self.steps:
                    run.stop(f"{self.steps} steps were asked for")

        Since 0.1.
        """

    @hookspec
    def on_epoch_end(self, run: Run) -> None:
        """After validation; ``run.scores`` is this epoch's row of metrics.jsonl, already written.

        ``run.epoch`` counts the epoch already, ``run.best`` is the best so far by ``run.monitor``,
        and ``run.improved`` says whether it is this one.

        Example::

            @hookimpl
            def on_epoch_end(self, run):
                if run.scores["val/loss"] > 2 * run.scores["train/loss"]:
                    run.say("validation loss is twice the training loss")

        Since 0.1.
        """

    @hookspec
    def on_error(self, run: Run, error: BaseException) -> None:
        """When a run ends by an exception, before ``on_fit_end``; ``error`` is raised afterwards.

        Example::

            @hookimpl
            def on_error(self, run, error):
                if run.directory is not None:
                    self.notify(f"run {run.directory.path} failed: {error}")

        Since 0.1.
        """

    @hookspec
    def on_fit_end(self, run: Run) -> None:
        """Last, also after an error or an interruption.

        ``run.stop_reason`` tells why the run ended; it is empty after an error.

        Example::

            @hookimpl
            def on_fit_end(self, run):
                self.writer.close()

        Since 0.1.
        """


OFFERS: dict[str, str] = {
    "loss": "clsfit_losses",
    "optimizer": "clsfit_optimizers",
    "scheduler": "clsfit_schedulers",
    "metric": "clsfit_metrics",
    "callback": "clsfit_callbacks",
    "model": "clsfit_models",
    "dataset": "clsfit_datasets",
    "sampler": "clsfit_samplers",
    "augment": "clsfit_augments",
    "recipe": "clsfit_recipes",
}
"""Each kind of component and the hook that offers it."""
