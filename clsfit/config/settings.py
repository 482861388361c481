"""The core's own options: their types, bounds and help, and how they are read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from clsfit.errors import ConfigError, printable
from clsfit.parameters import Parameter, beside, coerce, fields_of, shown

AUTO = frozenset({"input_size", "channels", "mean", "std", "workers", "threads"})
"""Settings whose None is written ``auto``: found out from the pictures, the weights or the machine."""

COLUMNS = ("path_column", "label_column", "weight_column", "group", "split_by")
"""Settings that may name a column of a table."""

_WRITTEN = {
    "input_size": "N or HxW",
    "device": "auto|cpu|cuda|cuda:N|mps",
    "path_column": "column or none",
    "label_column": "column or none",
    "weight_column": "column or none",
    "split_by": "ratio or folder or column or file or none",
    "group": "parent or column or none",
    "group_regex": "pattern or none",
}
"""Types whose hints do not say how a value is written."""

ALIASES = {"disable_plugin": "disable_plugins"}


@dataclass(frozen=True, slots=True)
class Settings:
    """The core options of a run, in the order of the command line.

    The recipe ``default`` may set them; the defaults here hold where it is silent. None means auto.
    """

    epochs: Annotated[int, "passes over the training pictures", Ge(1)] = 20
    batch_size: Annotated[int, "pictures per batch (a micro-batch, with accumulation)", Ge(1)] = 32
    seed: Annotated[int, "what all randomness depends on", Ge(0), Lt(2**63)] = 0
    input_size: Annotated[tuple[int, int] | None, "what the model sees: N or HxW, in pixels"] = None
    channels: Annotated[Literal[1, 3] | None, "1 (grey) or 3 (colour)"] = None
    resize: Annotated[
        Literal["short", "stretch", "pad"],
        "how a picture meets the input size: crop its long side, distort it, or pad it",
    ] = "short"
    mean: Annotated[tuple[float, ...] | None, "subtracted from pixels in [0, 1]: one number, or one per channel"] = None
    std: Annotated[tuple[float, ...] | None, "what pixels are divided by afterwards"] = None
    path_column: Annotated[str | None, "a table's column that says where a picture is; none: by its usual names"] = None
    label_column: Annotated[str | None, "a table's column of the classes; none: by its usual names"] = None
    weight_column: Annotated[str | None, "a table's column of the pictures' weights; none: weight, if there"] = None
    split_by: Annotated[
        str | None,
        "where the split comes from: ratio = divided anew, folder = folders train, val, test, a table's column, or a "
        "table of its own (.csv); none: as DATA has it, else by ratio",
    ] = None
    val_fraction: Annotated[float, "part of the training pictures held out for validation", Ge(0), Lt(1)] = 0.2
    group: Annotated[
        str | None,
        "pictures of one group stay on one side of the split: parent = the folder they lie in, or a table's column",
    ] = None
    group_regex: Annotated[
        str | None,
        "names the group: first group of the pattern, else the whole match, in the path relative to DATA",
    ] = None
    folds: Annotated[int | None, "train as many models, each validated on another part of the pictures", Ge(2)] = None
    fold: Annotated[int | None, "train only this one of the folds, from 1", Ge(1)] = None
    device: Annotated[str, "auto, cpu, cuda, cuda:N or mps"] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        "number format of the model; auto: bf16 on CUDA, else fp32",
    ] = "auto"
    workers: Annotated[int | None, "threads that prepare pictures, or processes too; 0: none", Ge(0)] = None
    start_method: Annotated[
        Literal["auto", "thread", "fork", "spawn"],
        "how the workers that decode pictures are started; auto: as threads, or spawned if a probe finds that faster",
    ] = "auto"
    threads: Annotated[int | None, "threads of the arithmetic on the CPU", Ge(1)] = None
    cache: Annotated[Literal["auto", "off", "memory", "disk"], "where decoded pictures are kept"] = "auto"
    step: Annotated[
        Literal["auto", "eager", "graph", "compile", "compile+graph"],
        "how a training step is executed; auto: eager, but on CUDA what is estimated to take the least time",
    ] = "auto"
    skip_bad: Annotated[bool, "leave out pictures that cannot be read, and say how many"] = False
    disable_plugins: Annotated[tuple[str, ...], "plugins that are not imported, by entry point or distribution"] = ()
    no_plugins: Annotated[bool, "import bundled plugins only"] = False

    def __post_init__(self) -> None:
        if self.group is not None and self.group_regex is not None:
            raise ConfigError(
                "--group and --group-regex both say what a group is",
                f"--group {printable(self.group)}, --group-regex {printable(self.group_regex)}",
                "give one of them; none switches off what a file says",
            )
        if self.split_by == "ratio" and self.val_fraction == 0 and self.folds is None:
            raise ConfigError(
                "--split-by ratio divides the pictures anew, and --val-fraction 0 does not divide them",
                "options --split-by, --val-fraction",
                "leave one of them out",
            )
        if self.fold is not None and (self.folds is None or self.fold > self.folds):
            raise ConfigError(
                f"there is no fold {self.fold}",
                f"--fold {self.fold}, " + (f"--folds {self.folds}" if self.folds else "without --folds"),
                "give --folds K, and with --fold one of 1 to K",
            )


@cache
def parameters() -> tuple[Parameter, ...]:
    """The settings as options; None is written ``auto`` where it means that."""
    found = []
    for parameter in fields_of(Settings):
        text = _WRITTEN.get(parameter.name, parameter.type_text)
        if parameter.name in AUTO:
            text = text.removesuffix(" or none") + " or auto"
        found.append(replace(parameter, written=text))
    return tuple(found)


NAMES = tuple(field.name for field in fields(Settings))


def option_name(name: str) -> str:
    """The command-line option of a setting: ``--batch-size``."""
    return "--disable-plugin" if name == "disable_plugins" else "--" + name.replace("_", "-")


def read_setting(name: str, raw: Any, where: str) -> Any:
    """The value of one setting from what was written.

    Raises:
        ConfigError: it does not fit the setting's type or bounds.
    """
    parameter = next(parameter for parameter in parameters() if parameter.name == name)
    option = option_name(name)
    if name in AUTO and (raw is None or (isinstance(raw, str) and raw.lower() in {"auto", "none", "null"})):
        return None
    value = coerce(parameter, _size(raw, beside(option, where)) if name == "input_size" else raw, option, where)
    problem = _problem(name, value)
    if problem:
        raise ConfigError(
            f"{option}: {printable(shown(raw))!r} does not fit: {problem}", beside(option, where), parameter.help
        )
    return value


def _size(raw: Any, where: str) -> Any:
    """``64``, ``"64"`` and ``"48x64"`` as (height, width); a list as it is."""
    if isinstance(raw, list | tuple):
        return raw
    found = re.fullmatch(r"(\d{1,6})(?:x(\d{1,6}))?", str(raw).lower().strip())
    if found is None:
        raise ConfigError(
            f"--input-size: {printable(str(raw))!r} is no size", where, "write N or HxW, such as 224 or 48x64"
        )
    return int(found[1]), int(found[2] or found[1])


def _problem(name: str, value: Any) -> str:
    """What the type alone cannot say about a setting's value; empty if it is fine."""
    if name == "group_regex" and value is not None:
        try:
            re.compile(value)
        except re.error as error:
            return f"it is no pattern: {error}"
    if name in COLUMNS and value is not None and not value.strip():
        return "it names nothing"
    if name == "input_size" and min(value) < 1:
        return "a side is at least 1 pixel"
    if name in {"mean", "std"} and len(value) not in {1, 3}:
        return "give one number, or one per channel"
    if name == "std" and min(value) <= 0:
        return "it must be greater than 0"
    if name == "device" and not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        return "no such kind of device"
    return ""


def written(settings: Settings) -> dict[str, Any]:
    """The settings as plain YAML values, in order."""
    tree: dict[str, Any] = {}
    for name in NAMES:
        value = getattr(settings, name)
        if value is None:
            tree[name] = "auto" if name in AUTO else "none"
        elif name == "input_size":
            tree[name] = value[0] if value[0] == value[1] else f"{value[0]}x{value[1]}"
        else:
            tree[name] = list(value) if isinstance(value, tuple) else value
    return tree
