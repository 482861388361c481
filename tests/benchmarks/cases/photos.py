"""Training on photographs at 224 from the second epoch on, beside the compute ceiling, and beside timm's loop."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group
from setting import Setting

_LATER = "later epochs, pictures/s"
_WAYS = ("eager", "graph", "compile", "compile+graph")
_CEILING = 0.95
_ALONE = 50.0  # pictures are cut in a fiftieth of a step
_TIMM = {"resnet18": 3.0, "resnet50": 1.1, "efficientnet_b0": 1.8}


def groups(setting: Setting) -> Sequence[Group]:
    if setting.size == "tiny":
        models = ["three_convolutions"]
    else:
        models = ["resnet18", "resnet50", "efficientnet_b0", "vit_b_16"] if setting.on_gpu else ["resnet18"]
    return [group for model in models for group in _groups(setting, model)]


def _groups(setting: Setting, model: str) -> list[Group]:
    """With clsfit as it is, and on a GPU also with its step compiled and captured, beside what is compiled."""
    batch = 256 if setting.on_gpu and setting.size != "tiny" else 32
    words = (setting.photos, "--model", model, "--side", setting.of(64, 224, 224), "--batch", batch)
    words = (*words, "--epochs", setting.of(2, 4, 8), "--device", setting.device, "--lr", 0.02)
    ours = (*words, "--output", setting.work / "run")
    clsfit = setting.ours("clsfit", "folder.py", *ours)
    compiled = setting.ours("clsfit, compile+graph", "folder.py", *ours, "--step", "compile+graph")
    loops = (*words, "--workers", setting.workers)
    ceiling = setting.peer("ceiling", "ceiling.py", *words)
    timm = setting.peer("timm", "timm_loop.py", *loops, needs=("timm",))
    hand = setting.peer("ImageFolder", "hand.py", *loops)
    if not setting.on_gpu:
        figures = _figures(setting, {})
        return [
            Group(f"{model}, ceiling", [ceiling, clsfit, hand], figures, same=False),
            Group(f"{model}, timm", [timm, clsfit], figures),
        ]
    timm_compiled = setting.peer("timm, torch.compile", "timm_loop.py", *loops, "--compile", needs=("timm",))
    goal, both = _TIMM.get(model), [clsfit, compiled]
    reaching = {program.name: _CEILING for program in both}
    alone = []
    if model == "resnet50":
        alone.append(setting.ours("clsfit, pictures alone", "folder.py", *ours, "--model", "none"))
        reaching[alone[0].name] = _ALONE
    return [
        Group(f"{model}, ceiling", [ceiling, *both, hand, *alone], _ceiling(setting, reaching), same=False),
        Group(f"{model}, timm", [timm, clsfit], _figures(setting, {"clsfit": goal} if goal else {})),
        Group(
            f"{model}, timm with torch.compile",
            [timm_compiled, compiled],
            _figures(setting, {compiled.name: goal} if goal else {}),
        ),
    ]


def _ceiling(setting: Setting, goals: dict[str, float]) -> list[Figure]:
    """Also what the ceiling is the best of, and the seconds that do not count in it."""
    ways = [Figure(way, f"{way}, pictures/s", more=True) for way in _WAYS]
    before = [Figure("capturing", "capturing, s"), Figure("compiling", "compiling, with what torch keeps of it, s")]
    return [*_figures(setting, goals), *ways, *before]


def _figures(setting: Setting, goals: dict[str, float]) -> list[Figure]:
    return [Figure("later", _LATER, goals, more=True), *setting.costs]
