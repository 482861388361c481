"""Training steps on small pictures that lie on the device, beside the same steps on one batch of random numbers."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group, Program
from setting import Setting


def groups(setting: Setting) -> Sequence[Group]:
    """Steps of about 1 ms, and of 5 ms and more, on a GPU; on a CPU they are longer and have no goals."""
    short = _group(setting, "short steps", "three_convolutions", setting.of(32, 512, 512), 0.95)
    if setting.size == "tiny" or not setting.on_gpu:
        return [short]
    return [short, _group(setting, "long steps", "resnet18_small", 1024, 0.98)]


def _group(setting: Setting, name: str, model: str, batch: int, goal: float) -> Group:
    words = (setting.small, "--model", model, "--batch", batch, "--epochs", setting.of(2, 6, 20))
    words = (*words, "--device", setting.device, "--lr", 0.02)
    programs: list[Program] = [setting.peer("ceiling", "ceiling.py", *words)]
    steps = ("auto", "graph", "compile+graph") if setting.on_gpu else ("auto",)
    for step in steps:
        named = "clsfit" if step == "auto" else f"clsfit, {step}"
        programs.append(setting.ours(named, "folder.py", *words, "--step", step, "--output", setting.work / "run"))
    goals = {program.name: goal for program in programs[1:]} if setting.on_gpu else {}
    return Group(name, programs, [Figure("later", "later epochs, pictures/s", goals, more=True), *setting.costs], False)
