"""What ranks do together, without a run."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from clsfit_standard.metrics.counts import F1, Accuracy
from clsfit_standard.metrics.curves import AUROC
from clsfit_standard.offers.metrics import COMPONENTS as METRICS
from torch import Tensor, nn

from clsfit.distributed import launch
from clsfit.distributed.meeting import Meeting
from clsfit.engine.group import Group, farewell
from clsfit.engine.ranks import Alone
from clsfit.engine.sums import Sums
from clsfit.pipeline.batches import Window, batch_bounds
from clsfit.storage.checkpoints import Checkpoint


@contextmanager
def met() -> Iterator[Any]:
    """The ranks without a run."""
    place = launch.place()
    if place is None:
        yield Alone()
        return
    meeting = Meeting(place)
    with farewell(meeting):
        meeting.arrive("of a test")
        with Group(meeting) as group:
            yield group
            group.meet()


def predictions(count: int, classes: int) -> tuple[Tensor, Tensor]:
    """Logits [N, K] that favour the truth, some of them equal, and targets [N]; the last class is rare."""
    generator = torch.Generator().manual_seed(3)
    targets = torch.randint(classes - 1, (count,), generator=generator)
    targets[::97] = classes - 1
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), targets] += 1.0
    return (logits * 8).round() / 8, targets


def measure(metrics: dict[str, dict[str, Any]], count: int, cuts: list[int], batch_size: int) -> dict[str, Any]:
    """Scores of ``predictions``, of which this rank has those from its cut to the next, in such batches.

    Args:
        metrics: options by name.
        cuts: [ranks + 1].
    """
    names = ("0", "1", "2.5", "4", "7")
    offers = {offer.name: offer for offer in METRICS}
    filled = {"num_classes": len(names), "class_names": names}

    def made(name: str) -> Any:
        module, _, factory = offers[name].target.partition(":")
        target = getattr(import_module(module), factory)
        known = inspect.signature(target).parameters
        return target(**{k: v for k, v in filled.items() if k in known}, **metrics[name])

    def fresh() -> Sums:
        return Sums({name: made(name) for name in metrics})

    logits, targets = predictions(count, len(names))
    with met() as ranks:
        sums = fresh()
        add_batches(
            sums,
            logits,
            targets,
            [
                (s, min(s + batch_size, stop))
                for start, stop in [cuts[ranks.rank : ranks.rank + 2]]
                for s in range(start, stop, batch_size)
            ],
        )
        whole = ranks.merged(sums, fresh)
        return {"samples": whole.samples, "scores": whole.scores(), "per_class": whole.per_class(names)}


def add_batches(sums: Sums, logits: Tensor, targets: Tensor, bounds: Sequence[tuple[int, int]]) -> None:
    for start, stop in bounds:
        values = nn.functional.cross_entropy(logits[start:stop], targets[start:stop], reduction="none")
        sums.add(logits[start:stop], targets[start:stop], values.sum())


def count_all(most: int, batch_sizes: Sequence[int]) -> list[Any]:
    """For 1 to ``most`` validation pictures in batches of each size: what is counted in whole batches, in turn."""

    def fresh() -> Sums:
        return Sums({"accuracy": Accuracy(), "f1": F1(5), "auroc": AUROC(5)})

    found = []
    with met() as ranks:
        for size in batch_sizes:
            for count in range(1, most + 1):
                sums = fresh()
                add_batches(sums, *predictions(count, 5), ranks.turns(batch_bounds(count, size)))
                whole = ranks.merged(sums, fresh)
                scores = whole.scores("val/")
                found.append([size, count, whole.samples, int(whole.metrics["accuracy"].correct), scores])
    return found


def exchange() -> dict[str, Any]:
    """A checkpoint of rank 0 for all, and texts that are alike or not."""
    content = {"one": bytes(range(256)) * 391, "two": b"", "three": b"\0" * 7}
    with met() as ranks:
        sizes = [len(each) for each in ranks._exchange.gather(b"x" * (ranks.rank * 100_003))]
        saved = Checkpoint(7, Path("there"), {}) if ranks.rank == 0 else None
        if saved is not None:
            object.__setattr__(saved, "content", lambda: content)
        found = ranks.same(saved)
        assert (found.step, found.path) == (7, Path("there"))
        sent = found.content() if ranks.rank == 0 else {name: found.read(name) for name in content}
        said = [ranks.alike("a"), ranks.alike(f"rank {ranks.rank}"), ranks.alike("a" if ranks.rank else "b")]
        return {
            "sizes": sizes,
            "sent": {name: hashlib.sha256(blob).hexdigest() for name, blob in sent.items()},
            "whole": {name: hashlib.sha256(blob).hexdigest() for name, blob in content.items()},
            "nothing": ranks.same(None),
            "alike": said,
        }


def average() -> dict[str, Any]:
    """What follows the gradients of a step whose micro-batch has 8 samples: 6, 2 and none for each rank."""
    with met() as ranks:
        parameters = {name: nn.Parameter(torch.zeros(2)) for name in ("all", "one", "none")}
        model = nn.Module()
        model.register_buffer("mean", torch.tensor([[1.0, 1.0], [5.0, 5.0], [float("inf"), float("nan")]][ranks.rank]))
        model.register_buffer("count", torch.tensor([10, 11, 99][ranks.rank]), persistent=False)
        model.register_buffer("turn", torch.tensor([1 + 2j, 3.5 - 1j]))
        model.register_buffer("flag", torch.tensor([True, True, False][ranks.rank]))
        parameters["all"].grad = torch.full((2,), float(ranks.rank + 1))
        if ranks.rank == 1:
            parameters["one"].grad = torch.full((2,), 2.0)
        run = SimpleNamespace(
            parameters=[*parameters.values()], model=model, loss=nn.Module(), device=torch.device("cpu")
        )
        bounds = [[(0, 6)], [(6, 8)], []][ranks.rank]
        losses = [torch.tensor(float(ranks.rank + 1))] if bounds else []
        reduced = ranks.reducer(run)(losses, Window(bounds, 8))
        gradients = {n: None if p.grad is None else p.grad.tolist() for n, p in parameters.items()}
        return {
            "mean": model.mean.tolist(),
            "count": model.count.item(),
            "flag": model.flag.item(),
            "turn": torch.view_as_real(model.turn).tolist(),
            "gradients": {n: g if g is None else g[0] for n, g in gradients.items()},
            "loss": sum(loss.item() for loss in reduced),
        }


def level() -> dict[str, Any]:
    """Tensors of every kind of number, and shape, which differ at first."""
    kinds = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64]
    kinds += [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e4m3fn]
    with met() as ranks:
        model = nn.Module()
        for kind in kinds:
            for shape in ((), (0,), (2, 3)):
                value = torch.full(shape, 1 - ranks.rank).to(kind)
                model.register_buffer(f"{kind}-{len(shape)}-{sum(shape)}".replace(".", "-"), value)
        model.register_buffer("wide", torch.full((2, 3), float(ranks.rank)).t())
        ranks.level(SimpleNamespace(model=model, loss=nn.Linear(2, 2)))
        return {name: tensor.to(torch.float32).flatten().tolist() for name, tensor in model.state_dict().items()}
