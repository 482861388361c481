"""What each kind of component gets and owes.

Factories are called by keyword. Parameters with these names are filled by the core where the
factory's signature lists them, and are never options:

=====================  =========================================================================
``num_classes``        int, K
``class_names``        tuple of K str, in the order of the logits; for data sets those of the model that is
                       judged, or None
``class_counts``       tuple of K int, training pictures per class
``in_channels``        int, 1 or 3
``input_size``         (height, width) in pixels, what the model sees
``total_steps``        int, optimizer steps of the whole run
``steps_per_epoch``    int, optimizer steps of one epoch
``seed``               int, the run's seed
``params``             optimizers only: the parameter groups
``optimizer``          schedulers only: the optimizer
``columns``            data sets only: a :class:`clsfit.data.columns.Columns`, the names of a table's columns
=====================  =========================================================================

All other keyword parameters are options; ``**kwargs`` receives nothing. The core itself gives every
loss the option ``class_weights`` and every model the option ``weights``, which factories do not see
unless they declare them; then the option is theirs alone. State (``state_dict``)
consists of JSON values and tensors only, in dicts with string keys and in lists.

Shapes: B samples in a batch, K classes, C channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from clsfit.data.table import SampleTable
    from clsfit.keyed import Key

FILLED = frozenset(
    {
        "num_classes",
        "class_names",
        "class_counts",
        "in_channels",
        "input_size",
        "total_steps",
        "steps_per_epoch",
        "seed",
        "params",
        "optimizer",
        "columns",
    }
)
"""Parameters of a factory that the core fills and that are never options."""


class Model(Protocol):
    """A ``torch.nn.Module`` that maps pictures to logits.

    Where it convolves, pictures and weights are channels_last in memory, on CUDA and on CPUs. A model that fails
    on two pictures of zeros so, as one does that calls ``view`` after a convolution, gets contiguous ones: slower.

    Its factory builds it untrained; what it starts from is the core's option ``--model.weights``. A
    factory for which there are pretrained weights says so by an attribute ``pretrained``, an object as
    :class:`Pretrained` describes.

    Attributes:
        graph_safe: whether its forward may be captured in a CUDA graph (default False): it never waits for the
            device, and does the same in every step, since Python calls it once. Without it ``--step auto`` takes
            no graph; ``--step graph`` does.
    """

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits [B, K] float from ``images`` [B, C, H, W] float, normalised by mean and std."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The pictures that weights were trained on.

    Attributes:
        input_size: (height, width) in pixels.
        mean: per channel (one value, or three), subtracted from pixels in [0, 1].
        std: per channel (one value, or three), above 0; what they are divided by afterwards.

    Raises:
        ValueError: an attribute is not as said above.
    """

    input_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        channels = {len(self.mean), len(self.std)}
        if len(self.input_size) != 2 or not channels <= {1, 3} or min(*self.input_size, *self.std) <= 0:
            raise ValueError(f"no size, mean and deviation of pictures: {self}")


class Pretrained(Protocol):
    """What ``--model.weights default`` means for a model; the attribute ``pretrained`` of its factory.

    The core fits the tensors to the run's model: the first convolution to its channels; a head of
    another number of classes is left as it was drawn. What only the plugin can know (names of older
    versions, position embeddings of another input size) it does itself, where the object also has a
    method ``fit(tensors, model)``: given tensors by name and the ``torch.nn.Module`` that the factory
    built, it returns the tensors by the names and in the shapes of that model. The core calls it before
    it fits anything itself, also for the tensors of a file of the user's.
    """

    def preprocessing(self) -> Preprocessing:
        """How the weights want their pictures; asked before the data are read. No network here."""

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """The weights, named as in the ``state_dict`` of the model that the factory builds.

        Raises:
            ClsfitError: they cannot be had, such as without a network; with the remedy.
        """


class Loss(Protocol):
    """A ``torch.nn.Module``: one value per sample, or a scalar mean over the batch.

    Attributes:
        soft_targets: whether ``targets`` may be float [B, K], rows summing to one (default False).
        batchwise: whether it is no sum over samples, such as soft F1 (default False); accumulation
            over micro-batches then differs from the big batch, and a run says so once.
        graph_safe: as a model's (default False).
        corrects_imbalance: whether it lets rare classes count more than their share (default False); a run warns
            of two such corrections at once.
        assumes_shares: whether its formula takes ``class_counts`` for what an epoch shows (default False); a sampler
            that shows other shares of the classes is then refused.

    A forward that names a parameter ``images`` gets them too ([B, C, H, W] float). Parameters of the
    module are trained with the model's and saved. A method ``begin_epoch(epoch, epochs)`` is called before an
    epoch's first step, and again where a run resumes inside it: ``epoch`` int of ``epochs`` are done. What it changes
    must follow from these two, and where the loss is ``graph_safe``, be written in place.
    """

    def __call__(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """[B] float (preferred) or a scalar, from ``logits`` [B, K] float and ``targets`` [B] int64.

        A per-sample loss is summed over samples, times the sample's weight where there is one, and
        divided once by the number of samples of the optimizer step. The core's option
        ``--loss.class_weights`` makes such weights, so a loss needs no option for them; a scalar refuses
        them.
        """


class Optimizer(Protocol):
    """A ``torch.optim.Optimizer``, or an object with these members.

    Its factory gets ``params``: a list of groups ``{"params": [...], "weight_decay": ...}`` in which
    the core has put a weight decay of 0 on norms, biases and other parameters of fewer than two
    dimensions; other groups take the factory's own ``weight_decay``.

    Attributes:
        param_groups: list of dicts with ``params``, ``lr`` and whatever the optimizer keeps there.
        needs_closure: whether ``step`` takes a closure that evaluates loss and gradients again and
            returns the loss (default False).
        graph_safe: whether ``step`` may be captured in a CUDA graph (default False): it takes
            ``found_inf`` as said at :meth:`step`, keeps its state in tensors on the device, never waits
            for it, and accepts a float32 tensor [] on the device as a group's ``lr``. Without it
            ``--step graph`` is refused.
    """

    param_groups: list[dict[str, Any]]

    def step(self, *closure: Callable[[], torch.Tensor]) -> Any:
        """Updates the parameters from their gradients; gets a closure where ``needs_closure``.

        Where ``_step_supports_amp_scaling`` is true (torch's convention, as in its fused
        optimizers), the core sets ``found_inf``, a float32 tensor on the device, and a step with a
        value other than 0 must change nothing. For all others the core reads the flag itself.
        """

    def zero_grad(self) -> None:
        """Clears the gradients."""

    def state_dict(self) -> dict[str, Any]:
        """State and groups, as ``torch.optim.Optimizer.state_dict``."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""


class Scheduler(Protocol):
    """Sets the learning rates in ``optimizer.param_groups``.

    Its factory gets ``optimizer``, and sets the first step's rate when it is built.
    torch's own schedulers fit once they carry ``when``.

    Attributes:
        when: ``"step"``: ``step()`` after every optimizer step; ``"epoch"``: ``step()`` after every
            epoch; ``"metric"``: ``step(value)`` after every validation with the monitored value.
            A tuple of these names asks for each of them.
        monitor: for ``"metric"``: a key of metrics.jsonl such as ``"val/loss"``, or None for the
            run's monitor.
        higher_is_better: for ``"metric"``, set by the core before the first step: the monitor's direction.
        graph_safe: whether it changes learning rates and nothing else within an epoch (default False). A CUDA
            graph reads the rates anew in each step, and all else never. Without it ``--step graph`` is refused.
    """

    when: str | tuple[str, ...]
    higher_is_better: bool

    def step(self, value: float | None = None) -> None:
        """Advances by one step, epoch or validation."""

    def state_dict(self) -> dict[str, Any]:
        """JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`; also restores the learning rates' rule, not the rates."""


class Metric(Protocol):
    """Counts on the device, one number at the end.

    A fresh object is built for every pass over data. A metric with ``state_dict`` and
    ``load_state_dict`` is saved inside an epoch by them, any other by its attributes, which then are
    tensors and JSON values.

    Attributes:
        higher_is_better: the direction of improvement.
    """

    higher_is_better: bool

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Adds samples: ``logits`` [B, K] float, ``targets`` [B] int64; must not wait for the device.

        Batches may be of any size: the result must not depend on how samples are grouped.
        """

    def merge(self, other: Any) -> None:
        """Adds the samples that ``other``, of the same type, has seen."""

    def compute(self) -> float | None:
        """The value over all samples; None where it is undefined."""


@runtime_checkable
class PerClassMetric(Protocol):
    """A metric that can also say its value for each class."""

    def compute_per_class(self) -> Sequence[float | None]:
        """K values in the order of the logits; None where one is undefined."""


class Callback(Protocol):
    """An object whose methods named after :class:`clsfit.hookspecs.Moments` carry ``@hookimpl``.

    Attributes:
        accumulate: micro-batches per optimizer step that this callback asks for; read before the
            scheduler is built (absent in most callbacks).
        graph_safe: whether its ``on_gradients`` may be captured in a CUDA graph (default False): it works on
            the device only, never waits for it, and does the same in every step, since Python calls it
            once. Without it a callback with ``on_gradients`` rules out ``--step graph``.
        averaged: a module like the model, with averaged weights: validation judges it and the model files
            hold it, in the model's place (absent in most callbacks; None counts as absent). Made in
            ``on_fit_start`` at the latest.

    One with state also has ``state_dict`` and ``load_state_dict``. One that may not fit a run, because its
    options name what the run has not, has ``check(run)``: called once the run is built, also by a dry run,
    before anything is written; it raises :class:`clsfit.errors.ConfigError`, and changes nothing.

    One that knows a way on when a loss or gradient is not finite has ``recover(run, error) -> bool``: whether
    training goes on, from where ``run`` is then (see :meth:`clsfit.engine.run.Run.roll_back`). The callbacks
    are asked in their order until one says yes.
    """


class Dataset(Protocol):
    """Pictures with labels, in DATA's place.

    Attributes:
        sizes_bytes: [N] int64, of each picture's file; they are part of the data's fingerprint (absent in many).
        notes: lines for the user (absent in many).
        absent: row -> reason, for pictures that are known not to be there (absent in many).

    One that reads a table lists ``columns`` in its factory. By ``--path-column``, ``--label-column``,
    ``--weight-column``, ``--group COLUMN`` and ``--split-by COLUMN`` users name columns, which it need not guess then;
    one that its table lacks is a ``ConfigError``. For other data sets these options are refused before training.

    One that can has ``head(row, length) -> bytes``, at most the first bytes of a picture, and ``stamp(rows) -> str``,
    a text that changes whenever one of the pictures ``rows`` [M] int64 does: what was read of them is then remembered.

    One whose component names ``endings`` gets DATA as ``path``. One that reads a table of pictures in another format
    makes it by :func:`clsfit.data.table_rows.places_of` and :func:`clsfit.data.table_rows.rows_of`, then
    :func:`clsfit.data.table_file.source_of`, or :func:`clsfit.data.table_file.table_of` where the pictures are no
    files: these four, and :class:`clsfit.data.table_rows.Rows`, are kept as this page is.
    """

    def table(self) -> SampleTable:
        """One row per picture; rows without a split are split by the core."""

    def read(self, row: int) -> bytes | npt.NDArray[np.uint8]:
        """Picture ``row``: an encoded file's bytes, or pixels uint8 [H, W], [H, W, 1] or [H, W, 3]."""


class Sampler(Protocol):
    """The order of an epoch. It draws by :mod:`clsfit.keyed` only."""

    def order(self, epoch: int, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Positions in the training set, int64 [M]; M is the same for every epoch.

        Args:
            epoch: from 0.
            targets: [N] int64, the training pictures' classes; positions index this array.
        """


class Augment(Protocol):
    """A random change of training pictures, in two halves: draw, then do.

    Attributes:
        soft_targets: whether ``apply`` returns targets float [N, K] (default False); a loss that
            takes none is then refused.
        always: whether it draws nothing and belongs to the preparation, such as a centre crop (default
            False): validation, evaluation and prediction then apply it too, and the model file records it.
            ``draw`` may then be called from several threads.

    ``draw`` is called on the host and takes all its randomness from ``key``. With ``apply`` it is called once per
    micro-batch; else for any number of samples of one or several, so that a sample's draws must depend on nothing
    but its own position and size. Its result is handed to exactly one of:

    - ``apply(images uint8 [N, C, H, W], targets, parameters) -> (images, targets)``: any batched
      change after the pictures were cut to the input size, on any device;
    - ``matrix(parameters, input_size) -> float64 [N, 3, 3]``: homogeneous coordinates, mapping a point
      (x, y, 1) of the output picture, in pixels from its centre, to the point of the picture before
      this augmentation; the core composes all matrices with the resize into one warp;
    - ``table(parameters) -> uint8 [N, 256] or [N, C, 256]``: a lookup of grey levels, composed too.

    Matrices take effect first, then tables, then ``apply``, each in the order of the configuration.

    An object with ``soft_targets`` may also have ``weigh(weights float [B], parameters) -> float [B]``:
    how the samples' own weights are mixed. Without it a sample keeps its own.
    """

    def draw(self, key: Key, sizes: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays whose first axis is the sample.

        Args:
            key: what the draws depend on, with the [N] positions of the samples.
            sizes: [N, 2] int64, height and width of each whole picture in pixels of the output, that is
                when it is resized so that the centred window has the input size. A picture with more
                on a side than the window has that much to move over. Where an earlier augmentation moved
                the window: what that left of the picture around it.
        """
