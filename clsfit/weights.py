"""What training starts from: ``--model.weights none|default|FILE``.

Evaluation and prediction never come here, nor does a run that goes on from a checkpoint. torch is
imported only where tensors are read, so that a wrong FILE is refused before the data are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors

from clsfit import header
from clsfit.config import Config, Selection
from clsfit.contracts import Preprocessing, Pretrained
from clsfit.errors import CheckpointError, ConfigError, printable
from clsfit.parameters import own_parameters
from clsfit.storage import modelfile

if TYPE_CHECKING:
    import torch

_DEFAULT = "default"
_PICKLED = (b"PK", b"\x80")
"""How files of ``torch.save`` begin: an archive, or in its old form a pickle."""


@dataclass(frozen=True)
class Loaded:
    """What :func:`load_into` did.

    Attributes:
        copied: tensors of the model that come from the file.
        new: names of those that stay as they were drawn.
    """

    copied: int
    new: tuple[str, ...]


def anchored(config: Config) -> Config:
    """``config`` with the absolute path of FILE, so that a record says from any directory what was meant."""
    choice = config.one("model")
    given = source_of(choice)
    if given in {None, _DEFAULT}:
        return config
    absolute = replace(choice, params=choice.params | {"weights": os.path.abspath(str(given))})
    return replace(config, components=config.components | {"model": (absolute,)})


def keep(config: Config, directory: Path) -> None:
    """Refuses to overwrite a run that FILE is in, which would delete it before it is read."""
    given = source_of(config.one("model"))
    if given not in {None, _DEFAULT} and Path(str(given)).resolve().is_relative_to(directory.resolve()):
        raise ConfigError(
            "the weights to start from would be deleted with the run that --overwrite replaces",
            f"{printable(str(given))} is in {printable(str(directory))}",
            "give another -o, or copy the file first",
        )


def preprocessing(config: Config) -> Preprocessing | None:
    """How the weights that training starts from want their pictures; None where nothing says so.

    Raises:
        ConfigError: ``default``, and the model has no pretrained weights.
        CheckpointError: FILE is missing, damaged, or no safetensors file.
    """
    choice = config.one("model")
    given = source_of(choice)
    if given is None:
        return None
    if given != _DEFAULT:
        if not given or not os.path.exists(given):
            raise CheckpointError(
                "there are no such weights to start from",
                f"option --model.weights {printable(given)}",
                "give none, default, a run's folder, or a .safetensors file that is there",
            )
        path = modelfile.resolve(given)
        if _is_model_file(path):
            finish = _model_file(path).header["finish"]
            return Preprocessing(tuple(finish["input_size"]), tuple(finish["mean"]), tuple(finish["std"]))
    settings = config.settings
    if given != _DEFAULT and None not in {settings.input_size, settings.mean, settings.std}:
        return None
    pretrained = _pretrained(choice)
    if pretrained is None:
        if given == _DEFAULT:
            raise ConfigError(
                f"model {choice.name!r} has no pretrained weights",
                "option --model.weights default",
                "give none or a FILE.safetensors, or choose another model",
            )
        return None
    asked: Preprocessing = _tried(choice, pretrained.preprocessing, Preprocessing)
    return asked


def adopt(config: Config, wanted: Preprocessing | None, channels: int | None = None) -> Config:
    """``config`` with the pictures that the weights want, where its settings leave that open.

    Args:
        config: whose settings win.
        wanted: what the weights want; None: nothing.
        channels: of the pictures; None: not known yet, and mean and std are left open.
    """
    if wanted is None:
        return config
    settings = config.settings
    changes: dict[str, Any] = {"input_size": settings.input_size or wanted.input_size}
    if channels is not None:
        changes["mean"] = settings.mean or _per_channel(wanted.mean, channels)
        changes["std"] = settings.std or _per_channel(wanted.std, channels)
    return config.replace_settings(**changes)


def start_from(choice: Selection, model: torch.nn.Module, classes: Sequence[str]) -> list[str]:
    """Loads the weights that ``choice`` asks for into its model, which was just drawn.

    Args:
        choice: the model's selection.
        model: the model, on any device.
        classes: the run's, in the order of the logits.

    Returns:
        A line for the run, or none where it starts from what was drawn.

    Raises:
        ClsfitError: the weights cannot be had, or do not fit the model.
    """
    given = source_of(choice)
    if given is None:
        return []
    pretrained = _pretrained(choice)
    tensors: Mapping[str, torch.Tensor]
    where, other_classes = f"--model.weights {printable(given)}", False
    if given == _DEFAULT:
        assert pretrained is not None
        tensors = _tried(choice, pretrained.tensors, Mapping)
    else:
        tensors, trained_on = _read(modelfile.resolve(given))
        other_classes = trained_on is not None and trained_on != list(classes)
    if (fit := getattr(pretrained, "fit", None)) is not None:
        tensors = _tried(choice, partial(fit, tensors, model), Mapping)
    loaded = load_into(model, tensors, len(classes), other_classes=other_classes, where=where)
    new = ", ".join(loaded.new[:4]) + (f" and {len(loaded.new) - 4} more" if loaded.new[4:] else "")
    total = loaded.copied + len(loaded.new)
    return [f"weights: {printable(given)}, {loaded.copied} of {total} tensors" + (f"; new: {new}" if new else "")]


def load_into(
    model: torch.nn.Module,
    tensors: Mapping[str, torch.Tensor],
    num_classes: int,
    *,
    other_classes: bool = False,
    where: str = "",
) -> Loaded:
    """Copies ``tensors`` into ``model``, all of them or, where they do not fit, none.

    The first convolution is adapted to the model's channels: a picture with the same values in all of
    them gives what it gave before. The head stays as it was drawn where the file's has another number
    of classes. Counters of batches, which old files lack, may be missing, and of names that share their
    memory all but one, as safetensors' own ``save_model`` writes them.

    Args:
        model: where they go.
        tensors: by the names of its ``state_dict``; all may have one prefix more, as of a module around it.
        num_classes: K.
        other_classes: whether they were trained on other classes, so that the head stays as it was drawn
            even where there are as many.
        where: what the tensors come from, for the error.

    Raises:
        CheckpointError: a tensor is missing, unexpected, or of another shape.
    """
    import torch

    state: dict[str, torch.Tensor] = model.state_dict()
    tensors = _without_owner(tensors, state)
    stem = next((f"{n}.weight" for n, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)), "")
    head = _head(model, num_classes) if other_classes else set()
    fitting: dict[str, torch.Tensor] = {}
    new: list[str] = []
    wrong = [f"{printable(name)} is not in the model" for name in tensors if name not in state]
    there = {own.data_ptr() for name, own in state.items() if name in tensors}
    for name, own in state.items():
        given = tensors.get(name)
        if given is None:
            if not name.endswith("num_batches_tracked") and own.data_ptr() not in there:
                wrong.append(f"{name} is missing")
        elif name in head or _other_head(given, own, num_classes):
            new.append(name)
        elif given.shape == own.shape:
            fitting[name] = given
        elif name == stem and given.ndim == 4 and given[:, :1].shape == own[:, :1].shape:
            fitting[name] = given.sum(1, keepdim=True) / own.shape[1]
        else:
            wrong.append(f"{name} is {list(given.shape)} instead of {list(own.shape)}")
    if wrong:
        more = f"; and {len(wrong) - 3} more" if wrong[3:] else ""
        raise CheckpointError(
            f"the weights do not fit the model in {len(wrong)} tensors: {'; '.join(wrong[:3])}{more}",
            where,
            "is the file of another model, or of the same one with other options?",
        )
    with torch.no_grad():
        for name, tensor in fitting.items():
            state[name].copy_(tensor)
    return Loaded(len(fitting), tuple(new))


def _without_owner(tensors: Mapping[str, torch.Tensor], known: Collection[str]) -> Mapping[str, torch.Tensor]:
    """``tensors`` without the first part of their names where that is all that keeps them from being ``known``."""
    owner = next(iter(tensors), "").partition(".")[0] + "."
    if any(name in known for name in tensors) or not all(name.startswith(owner) for name in tensors):
        return tensors
    return {name.removeprefix(owner): tensor for name, tensor in tensors.items()}


def _other_head(given: torch.Tensor, own: torch.Tensor, num_classes: int) -> bool:
    """Whether ``own`` is of a layer with an output per class, and ``given`` the same for other classes."""
    if given.ndim == 0 or own.ndim != given.ndim or own.shape[0] != num_classes:
        return False
    return given.shape[0] != num_classes and given.shape[1:] == own.shape[1:]


def _head(model: torch.nn.Module, num_classes: int) -> set[str]:
    """The parameters of the last module that has any with an output per class."""
    owners = [
        {f"{prefix}.{name}".lstrip(".") for name, p in module.named_parameters(recurse=False) if len(p) == num_classes}
        for prefix, module in model.named_modules()
        if any(p.ndim and len(p) == num_classes for p in module.parameters(recurse=False))
    ]
    return owners[-1] if owners else set()


def source_of(choice: Selection) -> str | None:
    """The option's value, ``default`` or FILE, of a model's selection; None where training starts from what is drawn.

    None too where the model has an option of that name itself, which then means what it likes.
    """
    own = any(parameter.name == "weights" for parameter in own_parameters(choice.offer))
    return None if own else choice.params.get("weights")


def _pretrained(choice: Selection) -> Pretrained | None:
    return getattr(choice.offer.load(), "pretrained", None)


def _tried(choice: Selection, call: Callable[[], Any], kind: type[Any]) -> Any:
    """What ``call`` returns, a ``kind``; a failure of it is the component's."""
    from clsfit.factory import tried

    def checked() -> Any:
        if not isinstance(value := call(), kind):
            raise TypeError(f"a {type(value).__name__} instead of a {kind.__name__}")
        return value

    return tried(choice.offer, checked, "at its pretrained weights")


def _is_model_file(path: Path) -> bool:
    """Whether a safetensors file is clsfit's; its header is read, nothing else.

    Raises:
        CheckpointError: it is no safetensors file, or is cut off.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return "clsfit" in (file.metadata() or {})
    except (OSError, safetensors.SafetensorError) as error:
        reason, remedy = " ".join(str(error).split()), "name another file, or copy it again"
    with path.open("rb") as raw:
        if raw.read(2).startswith(_PICKLED):
            reason = "it is pickled, and reading it could run any code"
            remedy = "clsfit import FILE OUT.safetensors, then --model.weights OUT.safetensors"
    raise CheckpointError(f"this is no safetensors file: {printable(reason)}", printable(str(path)), remedy)


def _model_file(path: Path) -> modelfile.ModelFile:
    """A model file of clsfit, of the format that this version reads."""
    read = modelfile.read(path)
    header.check(read.header, path)
    return read


def _read(path: Path) -> tuple[dict[str, torch.Tensor], list[str] | None]:
    """The model's tensors in a safetensors file, and the classes if it is a model file of clsfit."""
    if not _is_model_file(path):
        import safetensors.torch

        return safetensors.torch.load_file(path), None
    from clsfit.engine.state import from_blob

    read = _model_file(path)
    tensors = {n.removeprefix("model."): t for n, t in from_blob(read.blob).items() if n.startswith("model.")}
    return tensors, list(read.header["classes"])


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """``values`` for so many channels: their mean for one, one of them for each."""
    if len(values) == channels:
        return tuple(values)
    return (sum(values) / len(values),) * channels
