"""Ten epochs of a ResNet-18 with the 3x3 stem on CIFAR-10's JPEGs, from the command to the model file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from measure import Figure, Group, Program
from setting import Setting

_TIMM, _LIGHTNING = 0.5, 0.333


def groups(setting: Setting) -> Sequence[Group]:
    """One for each baseline: a hand-written loop, timm, timm with its network compiled, Lightning."""
    timm = _peer(setting, "timm", "timm_loop.py", needs=("timm",))
    compiled = _peer(setting, "timm, torch.compile", "timm_loop.py", "--compile", needs=("timm",))
    lightning = _peer(setting, "Lightning", "lightning_loop.py", needs=("lightning",))
    hand = _peer(setting, "hand-written", "hand.py")
    ours = [_ours(setting, "clsfit train")]
    if setting.on_gpu:
        ours.append(_ours(setting, "clsfit train, graph", "--step", "graph"))
    found = [
        _group(setting, "hand-written", [hand, *ours]),
        _group(setting, "timm", [timm, *ours], _TIMM),
        _group(setting, "timm with torch.compile", [compiled, *ours], _TIMM),
        _group(setting, "Lightning", [lightning, *ours], _LIGHTNING),
    ]
    return found if setting.on_gpu else [group for group in found if group.programs[0] is not compiled]


def _group(setting: Setting, name: str, programs: list[Program], goal: float | None = None) -> Group:
    goals = {"clsfit train": goal} if setting.on_gpu and goal else {}
    figures = [Figure("seconds", "whole process, s", goals), *setting.costs]
    return Group(name, programs, figures, warm=True)


def _sizes(setting: Setting) -> tuple[str, int, int]:
    """Model, epochs and batch size; a CPU is given less at the size small."""
    if setting.size == "tiny":
        return "three_convolutions", 2, 32
    if setting.size == "small" and not setting.on_gpu:
        return "resnet18_small", 2, 128
    return "resnet18_small", 10, 512


def _rate(setting: Setting) -> float:
    """The learning rate; six steps at a larger one would end anywhere."""
    return 0.01 if setting.size == "tiny" else 0.1


def _peer(setting: Setting, name: str, script: str, *words: str, needs: tuple[str, ...] = ()) -> Program:
    model, epochs, batch = _sizes(setting)
    sizes = ("--model", model, "--epochs", epochs, "--batch", batch, "--lr", _rate(setting))
    rest = (
        "--workers",
        setting.workers,
        "--device",
        setting.device,
        "--save",
        setting.work / "cold" / "weights.pt",
        *words,
    )
    program = setting.peer(name, script, setting.validated, *sizes, *rest, needs=needs)
    return _cold(setting, program, setting.work / "cold" / "weights.pt")


def _ours(setting: Setting, name: str, *words: str) -> Program:
    model, epochs, batch = _sizes(setting)
    models = {"resnet18_small": ("--model", "resnet18", "--model.stem", "small")}
    given = ("--input-size", 32, "--channels", 3, "--epochs", epochs, "--batch-size", batch, "--device", setting.device)
    augment = ("--augment", "crop", "--augment", "hflip", "--scheduler", "cosine")
    sgd = ("--optimizer", "sgd", "--optimizer.lr", _rate(setting))
    sgd = (*sgd, "--optimizer.momentum", 0.9, "--optimizer.weight_decay", 0)
    words = (*models.get(model, ("--model", model)), *map(str, (*given, *augment, *sgd)), *words)
    run = setting.work / "cold" / "run"
    return _cold(setting, setting.train(name, run, setting.validated, *words), run / "last.safetensors")


def _cold(setting: Setting, program: Program, file: Path) -> Program:
    """Neither pictures are known nor compiled networks, and the model is to be written to ``file``."""
    cold, found = setting.work / "cold", partial(_written, program.found, file)
    kept = {"CLSFIT_CACHE": str(cold / "clsfit"), "TORCHINDUCTOR_CACHE_DIR": str(cold / "torch")}
    return replace(program, fresh=cold, found=found, environment={**program.environment, **kept})


def _written(found: Callable[[], dict[str, Any]], file: Path) -> dict[str, Any]:
    """What ``found`` tells, once the model is there."""
    return {**found(), "model_bytes": file.stat().st_size}
