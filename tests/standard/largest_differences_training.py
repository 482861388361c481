"""Prints the largest difference of each loss, optimizer and scheduler from its oracle.

    python tests/standard/largest_differences_training.py

One line each: kind and name, the oracle, cases, the largest absolute difference, and beside it the
largest value of the oracle. Losses are compared in float64 and, from the same numbers, in float32.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from clsfit_standard.losses.cross_entropy import CrossEntropy
from clsfit_standard.losses.focal import Focal
from clsfit_standard.losses.label_smoothing import LabelSmoothing
from clsfit_standard.losses.mse import MSE
from clsfit_standard.losses.soft_f1 import SoftF1
from clsfit_standard.optimizers.adam import Adam
from clsfit_standard.optimizers.adamw import AdamW
from clsfit_standard.optimizers.sgd import SGD
from clsfit_standard.schedulers.constant import Constant
from clsfit_standard.schedulers.decay import Cosine, Linear
from clsfit_standard.schedulers.onecycle import OneCycle
from clsfit_standard.schedulers.plateau import Plateau
from clsfit_standard.schedulers.step import Step
from torch import Tensor
from torch.optim import lr_scheduler

CASES = 300
STEPS = 30

Rows = list[list[float]]
Pair = tuple[float, float]
"""What clsfit says, and what the oracle says."""


def softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    return [power / math.fsum(powers) for power in powers]


def log_softmax(logits: list[float]) -> list[float]:
    highest = max(logits)
    return [logit - highest - math.log(math.fsum(math.exp(other - highest) for other in logits)) for logit in logits]


def plain_focal(logits: list[float], target: list[float], gamma: float) -> float:
    pairs = zip(target, log_softmax(logits), strict=True)
    return math.fsum(-t * (-math.expm1(log_p)) ** gamma * log_p for t, log_p in pairs)


def plain_mse(logits: list[float], target: list[float]) -> float:
    return math.fsum((p - t) ** 2 for p, t in zip(softmax(logits), target, strict=True))


def plain_smoothed(logits: list[float], target: list[float], smoothing: float) -> float:
    return plain_focal(logits, [(1 - smoothing) * t + smoothing / len(target) for t in target], 0.0)


def plain_soft_f1(logits: Rows, targets: Rows, share: float) -> float:
    probabilities, lost = [softmax(row) for row in logits], []
    for c in range(len(logits[0])):
        support = math.fsum(row[c] for row in targets)
        if support > 0:
            hits = math.fsum(p[c] * t[c] for p, t in zip(probabilities, targets, strict=True))
            lost.append(1 - 2 * hits / (math.fsum(p[c] for p in probabilities) + support))
    entropy = math.fsum(plain_focal(z, t, 0.0) for z, t in zip(logits, targets, strict=True)) / len(logits)
    return (1 - share) * math.fsum(lost) / len(lost) + share * entropy


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor, Rows]]:
    """Random sizes and scales: logits [B, K] float64 that float32 holds exactly, targets, the same as rows."""
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    for case in range(CASES):
        samples, classes = chance.randint(1, 32), chance.randint(2, 20)
        logits = torch.randn(samples, classes, generator=generator) * 10 ** chance.uniform(-1, 1.5)
        targets = torch.randint(classes, (samples,), generator=generator)
        hot = F.one_hot(targets, classes).double()
        soft = torch.rand(samples, classes, generator=generator).double()
        soft = (hot + soft / soft.sum(1, keepdim=True)) / 2
        yield (logits.double(), targets, hot.tolist()) if case % 2 else (logits.double(), soft, soft.tolist())


def loss_pairs(dtype: torch.dtype, build: Callable[[float], Any], expected: Callable[..., Any]) -> Iterator[Pair]:
    """Each batch with a parameter drawn from [0, 1); ``expected`` gets logits, targets, rows and it."""
    chance = random.Random(1)
    for logits, targets, rows in batches(0):
        parameter = chance.random()
        found = build(parameter)(logits.to(dtype), targets.to(dtype) if targets.is_floating_point() else targets)
        oracle = torch.as_tensor(expected(logits, targets, rows, parameter), dtype=torch.float64)
        yield from zip(found.double().reshape(-1).tolist(), oracle.reshape(-1).tolist(), strict=True)


def by_sample(plain: Callable[..., float]) -> Callable[..., list[float]]:
    def values(logits: Tensor, targets: Tensor, rows: Rows, parameter: float) -> list[float]:
        return [plain(z, t, parameter) for z, t in zip(logits.tolist(), rows, strict=True)]

    return values


LOSSES: list[tuple[str, str, Callable[[float], Any], Callable[..., Any]]] = [
    (
        "cross_entropy",
        "torch F.cross_entropy",
        lambda _: CrossEntropy(),
        lambda z, t, _, __: F.cross_entropy(z, t, reduction="none"),
    ),
    ("cross_entropy", "plain Python", lambda _: CrossEntropy(), by_sample(lambda z, t, _: plain_focal(z, t, 0.0))),
    ("focal", "plain Python", lambda x: Focal(5 * x), by_sample(lambda z, t, x: plain_focal(z, t, 5 * x))),
    (
        "label_smoothing",
        "torch F.cross_entropy",
        LabelSmoothing,
        lambda z, t, _, x: F.cross_entropy(z, t, reduction="none", label_smoothing=x),
    ),
    ("label_smoothing", "plain Python", LabelSmoothing, by_sample(plain_smoothed)),
    ("mse", "plain Python", lambda _: MSE(), by_sample(lambda z, t, _: plain_mse(z, t))),
    ("soft_f1", "plain Python", lambda _: SoftF1(), lambda z, _, rows, __: plain_soft_f1(z.tolist(), rows, 0.0)),
    ("soft_f1, blended", "plain Python", SoftF1, lambda z, _, rows, x: plain_soft_f1(z.tolist(), rows, x)),
]


def optimizer_pairs(ours: Any, theirs: Any, options: Callable[[random.Random], dict[str, Any]]) -> Iterator[Pair]:
    """The weights after STEPS steps on random gradients, of random sizes and options."""
    chance, generator = random.Random(2), torch.Generator().manual_seed(2)
    for _ in range(CASES):
        shape = (chance.randint(1, 6), chance.randint(1, 6))
        first = torch.nn.Parameter(torch.randn(shape, generator=generator))
        second = torch.nn.Parameter(first.detach().clone())
        chosen = options(chance)
        pair = ours([{"params": [first]}], **chosen), theirs([{"params": [second]}], foreach=True, **chosen)
        for _ in range(STEPS):
            first.grad = torch.randn(shape, generator=generator)
            second.grad = first.grad.clone()
            for optimizer in pair:
                optimizer.step()
        yield from zip(first.reshape(-1).tolist(), second.reshape(-1).tolist(), strict=True)


def adam_options(chance: random.Random) -> dict[str, Any]:
    return {
        "lr": 10 ** chance.uniform(-4, -1),
        "betas": (chance.uniform(0.5, 0.99), chance.uniform(0.8, 0.9999)),
        "weight_decay": chance.choice([0.0, 10 ** chance.uniform(-4, -1)]),
    }


def sgd_options(chance: random.Random) -> dict[str, Any]:
    momentum = chance.choice([0.0, 0.5, 0.9])
    return {
        "lr": 10 ** chance.uniform(-3, -1),
        "momentum": momentum,
        "weight_decay": chance.choice([0.0, 10 ** chance.uniform(-5, -2)]),
        "nesterov": momentum > 0 and chance.random() < 0.5,
    }


OPTIMIZERS = [
    ("sgd", "torch.optim.SGD", SGD, torch.optim.SGD, sgd_options),
    ("adam", "torch.optim.Adam", Adam, torch.optim.Adam, adam_options),
    ("adamw", "torch.optim.AdamW", AdamW, torch.optim.AdamW, adam_options),
]


def scheduler_pairs(build: Callable[[random.Random, int, Any, Any], tuple[Any, Any]]) -> Iterator[Pair]:
    """Rate and momentum of every step of random runs."""
    chance = random.Random(3)
    for _ in range(CASES):
        total, lr = chance.randint(4, 80), 10 ** chance.uniform(-3, 0)
        ours, theirs = (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9) for _ in range(2))
        mine, oracle = build(chance, total, ours, theirs)
        for _ in range(total):
            for name in ("lr", "momentum"):
                yield ours.param_groups[0][name], theirs.param_groups[0][name]
            theirs.step()
            if isinstance(mine, Plateau):
                value = chance.random()
                mine.step()
                mine.step(value)
                oracle.step(value)
            else:
                mine.step()
                oracle.step()


def warmed(theirs: Any, warmup: int, then: Callable[[Any], Any]) -> Any:
    """torch's chain of a linear warm-up of ``warmup`` steps, >= 2, and what comes after it."""
    rise = lr_scheduler.LinearLR(theirs, start_factor=1 / warmup, total_iters=warmup - 1)
    return lr_scheduler.SequentialLR(theirs, [rise, then(theirs)], milestones=[warmup])


def constant(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    warmup = chance.randint(2, total)
    return Constant(ours, 7, warmup_steps=warmup), lr_scheduler.LinearLR(theirs, 1 / warmup, total_iters=warmup - 1)


def cosine(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    warmup, low = chance.randint(2, total - 1), ours.param_groups[0]["lr"] * chance.random()
    oracle = warmed(theirs, warmup, lambda o: lr_scheduler.CosineAnnealingLR(o, total - warmup, eta_min=low))
    return Cosine(ours, total, 7, warmup_steps=warmup, min_lr=low), oracle


def linear(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    share = chance.random()
    low = ours.param_groups[0]["lr"] * share
    return Linear(ours, total, 7, min_lr=low), lr_scheduler.LinearLR(theirs, 1.0, share, total_iters=total)


def linear_warmed(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    warmup = chance.randint(2, total - 1)
    oracle = warmed(theirs, warmup, lambda o: lr_scheduler.PolynomialLR(o, total - warmup, power=1.0))
    return Linear(ours, total, 7, warmup_steps=warmup), oracle


def step(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    every, factor = chance.randint(1, 20), chance.uniform(0.05, 0.95)
    return Step(ours, total, 7, every_steps=every, factor=factor), lr_scheduler.StepLR(theirs, every, factor)


def step_of_epochs(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    every, epoch = chance.randint(1, 5), chance.randint(1, 9)
    return Step(ours, total, epoch, every_epochs=every), lr_scheduler.StepLR(theirs, every * epoch, 0.1)


def onecycle(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    rise, start, end = chance.uniform(1.01 / total, 0.99), chance.uniform(1, 50), 10 ** chance.uniform(0, 5)
    low, high = sorted((chance.uniform(0.01, 0.99), chance.uniform(0.01, 0.99)))
    oracle = lr_scheduler.OneCycleLR(
        theirs,
        theirs.param_groups[0]["lr"],
        total_steps=total,
        pct_start=rise,
        div_factor=start,
        final_div_factor=end,
        base_momentum=low,
        max_momentum=high,
    )
    mine = OneCycle(
        ours, total, 7, rise=rise, start_divisor=start, end_divisor=end, min_momentum=low, max_momentum=high
    )
    return mine, oracle


def plateau(chance: random.Random, total: int, ours: Any, theirs: Any) -> tuple[Any, Any]:
    factor, patience, delta = chance.uniform(0.1, 0.9), chance.randint(1, 5), chance.choice([0.0, 0.05])
    oracle = lr_scheduler.ReduceLROnPlateau(
        theirs, factor=factor, patience=patience - 1, threshold=delta, threshold_mode="abs", eps=0.0
    )
    return Plateau(ours, 1, factor=factor, patience=patience, min_delta=delta), oracle


SCHEDULERS = [
    ("constant, warm-up", "torch LinearLR", constant),
    ("cosine, warm-up", "torch LinearLR, CosineAnnealingLR", cosine),
    ("linear", "torch LinearLR", linear),
    ("linear, warm-up", "torch LinearLR, PolynomialLR", linear_warmed),
    ("step, every_steps", "torch StepLR", step),
    ("step, every_epochs", "torch StepLR", step_of_epochs),
    ("onecycle, rate and momentum", "torch OneCycleLR", onecycle),
    ("plateau", "torch ReduceLROnPlateau", plateau),
]


def report(name: str, oracle: str, pairs: Iterator[Pair]) -> None:
    found = list(pairs)
    largest = max(abs(ours - theirs) for ours, theirs in found)
    print(f"{name:40} {oracle:36} {len(found):7} {largest:10.2e} {max(abs(theirs) for _, theirs in found):9.3g}")


def main() -> None:
    print(f"{'component':40} {'oracle':36} {'numbers':>7} {'difference':>10} {'of up to':>9}")
    for name, oracle, build, expected in LOSSES:
        for dtype in (torch.float64, torch.float32):
            report(f"loss {name} ({str(dtype)[6:]})", oracle, loss_pairs(dtype, build, expected))
    for name, oracle, ours, theirs, options in OPTIMIZERS:
        report(f"optimizer {name}", oracle, optimizer_pairs(ours, theirs, options))
    for name, oracle, pair in SCHEDULERS:
        report(f"scheduler {name}", oracle, scheduler_pairs(pair))


if __name__ == "__main__":
    main()
