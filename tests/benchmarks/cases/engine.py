"""The engine's own cost: steps so small that little else is left, one thread, three callbacks that listen."""

from __future__ import annotations

from collections.abc import Sequence

from measure import Figure, Group
from setting import Setting


def groups(setting: Setting) -> Sequence[Group]:
    epochs = setting.of((1, 6), (10, 120), (20, 420))
    one = {"OMP_NUM_THREADS": "1"}
    output = setting.work / "steps"
    title = "microseconds per step"
    sgd = [
        setting.peer("hand-written, SGD", "steps.py", "hand", "sgd", *epochs, **one),
        setting.ours("clsfit, sgd", "steps.py", "sgd", *epochs, output, **one),
        setting.ours("clsfit, torch.optim.SGD", "steps.py", "torch_sgd", *epochs, output, **one),
        setting.peer("DataLoader, meters", "steps.py", "loader", "sgd", *epochs, **one),
        setting.peer("Lightning", "steps.py", "lightning", "sgd", *epochs, needs=("lightning",), **one),
    ]
    adamw = [
        setting.peer("hand-written, AdamW", "steps.py", "hand", "adamw", *epochs, **one),
        setting.ours("clsfit, adamw", "steps.py", "adamw", *epochs, output, **one),
    ]
    goals = {"clsfit, sgd": 0.85, "clsfit, torch.optim.SGD": 1.08}
    figures = [Figure("microseconds", title, goals | {"clsfit, adamw": 0.85})]
    if setting.size == "tiny":
        return [Group("SGD", sgd[:3], figures)]
    return [Group("SGD", sgd, figures), Group("AdamW", adamw, figures)]
