"""What tests call in ranks, and a plugin of theirs that looks on. It is imported by the process that forks them."""

from __future__ import annotations

import hashlib
import inspect
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from clsfit_standard.metrics.counts import F1, Accuracy
from clsfit_standard.metrics.curves import AUROC
from clsfit_standard.offers.metrics import COMPONENTS as METRICS
from PIL import Image
from torch import Tensor, nn

import clsfit.build  # noqa: F401
from clsfit import Component, hookimpl
from clsfit.config import Config, resolve
from clsfit.distributed import launch
from clsfit.distributed.meeting import Meeting
from clsfit.engine.group import Group, farewell
from clsfit.engine.ranks import Alone
from clsfit.engine.state import attributes, flatten, to_blob
from clsfit.engine.sums import Sums
from clsfit.pipeline.batches import Window, batch_bounds
from clsfit.registry import Plugins
from clsfit.storage.checkpoints import Checkpoint
from clsfit.training import Control, train_config

SEEN: list[dict[str, Any]] = []
"""What :class:`LookOn` has noted in this process, a step each."""

SIGNAL: list[int] = []
"""The step, and the rank, at which a SIGTERM comes."""

CLOCK = {"seconds", "train_images_per_second"}


class Net(nn.Module):
    """Two convolutions and a linear layer.

    Args:
        norm: with BatchNorm.
        odd: with a parameter that nobody uses, one that is not trained, and a count that is no float.
    """

    def __init__(
        self, in_channels: int, num_classes: int, norm: bool = False, dropout: float = 0.0, odd: bool = False
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.second = nn.Conv2d(6, 8, 3, stride=2)
        self.drop = nn.Dropout(dropout)
        self.last = nn.Linear(8, num_classes)
        self.odd = odd
        if odd:
            self.unused = nn.Parameter(torch.ones(3, 2))
            self.still = nn.Parameter(torch.full((num_classes,), 0.25), requires_grad=False)
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.second(self.norm(self.first(images)).relu()).relu().mean((2, 3))
        logits: Tensor = self.last(self.drop(hidden))
        if self.odd:
            self.calls += self.training
            return logits + self.still
        return logits


class ScalarMean(nn.Module):
    """Cross entropy as one number, the mean over the batch."""

    soft_targets = True

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, targets)


class Learnt(nn.Module):
    """Cross entropy with a temperature that is trained with the model."""

    soft_targets = True

    def __init__(self) -> None:
        super().__init__()
        self.heat = nn.Parameter(torch.ones(()))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits * self.heat, targets, reduction="none")


class SAM(torch.optim.SGD):
    """Sharpness-aware minimisation: the gradient a step of length ``rho`` uphill."""

    needs_closure = True

    def __init__(self, params: Any, lr: float = 0.1, rho: float = 0.05) -> None:
        super().__init__(params, lr=lr, momentum=0.9)
        self.rho = rho

    @torch.no_grad()
    def step(self, closure: Any) -> None:
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        length = torch.stack([p.grad.norm() for p in moved]).norm() + 1e-12
        ways = [p.grad * (self.rho / length) for p in moved]
        for parameter, way in zip(moved, ways, strict=True):
            parameter += way
        closure()
        for parameter, way in zip(moved, ways, strict=True):
            parameter -= way
        super().step()


class LookOn:
    """Notes, of each step, a hash of all state, and which gradients there were; their values too, if asked."""

    def __init__(self, gradients: bool = False) -> None:
        self.gradients, self._missing, self._values = gradients, [], {}

    @hookimpl
    def on_gradients(self, run: Any) -> None:
        names = {id(p): name for module in (run.model, run.loss) for name, p in module.named_parameters()}
        named = {names[id(parameter)]: parameter.grad for parameter in run.parameters}
        self._missing = [name for name, gradient in named.items() if gradient is None]
        if self.gradients:
            self._values = {n: g.flatten().tolist() for n, g in named.items() if g is not None}

    @hookimpl
    def on_step_end(self, run: Any) -> None:
        tensors: dict[str, Tensor] = {}
        modules = {"model": run.model, "loss": run.loss, "judged": run.judged}
        for name, module in modules.items():
            tensors |= {
                f"{name}.{key}": tensor for key, tensor in [*module.named_parameters(), *module.named_buffers()]
            }
        rest = {"optimizer": run.optimizer, "scheduler": run.scheduler, "precision": run.precision}
        plain = {name: flatten(attributes(thing), name, tensors) for name, thing in rest.items()}
        noted = {"step": run.step, "bits": sha256(to_blob(tensors), json.dumps([plain, run.lr]).encode())}
        SEEN.append(noted | {"missing": self._missing, "gradients": self._values})
        if [run.step, run.ranks.rank] == SIGNAL:
            run.interrupt = signal.SIGTERM

    @hookimpl
    def on_epoch_end(self, run: Any) -> None:
        lasting = {key: value for key, value in run.scores.items() if key not in CLOCK}
        SEEN.append({"epoch": run.epoch, "scores": lasting, "best": run.best.step, "stop": run.stop_reason})


@hookimpl
def clsfit_models() -> Any:
    yield Component("net", "rank_parts:Net", "of a test")


@hookimpl
def clsfit_losses() -> Any:
    yield Component("scalar_mean", "rank_parts:ScalarMean", "of a test")
    yield Component("learnt", "rank_parts:Learnt", "of a test")


@hookimpl
def clsfit_optimizers() -> Any:
    yield Component("sam", "rank_parts:SAM", "of a test")


@hookimpl
def clsfit_callbacks() -> Any:
    yield Component("look_on", "rank_parts:LookOn", "of a test")


def sha256(*blobs: bytes) -> str:
    digest = hashlib.sha256()
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()


def train(
    data: str,
    output: str,
    options: dict[str, Any],
    resume: bool = False,
    accept: bool = False,
    fails: str = "",
    signal_at: Sequence[int] = (),
) -> dict[str, Any]:
    """Trains in this process, alone or as a rank.

    Args:
        fails: the kind of error by which it has to end.
        signal_at: step and rank.

    Returns:
        What :class:`LookOn` has ``seen``, and the ``error``.
    """
    SIGNAL[:] = signal_at
    config, plugins = configured(options | {"data": data})
    error = ""
    try:
        train_config(config, plugins, Control(Path(output), resume=resume, accept_changes=accept, verbosity=0))
    except Exception as raised:
        if type(raised).__name__ != fails:
            raise
        error = str(raised)
    assert bool(fails) == bool(error)
    return {"seen": SEEN, "error": error}


def prepare() -> None:
    """Imports what every run imports late, so that it is done once."""
    Image.preinit()
    configured({"data": "."})


def configured(options: dict[str, Any]) -> tuple[Config, Plugins]:
    points = [*entry_points(group="clsfit"), EntryPoint("rank_parts", "rank_parts", "clsfit")]
    plugins = Plugins.discover(points=points)
    fixed = {"model": "net", "metric": ["accuracy", "f1"], "threads": 1, "epochs": 2, "batch_size": 12}
    return resolve(plugins, options=fixed | options), plugins


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
        sizes = [len(each) for each in ranks._gather(b"x" * (ranks.rank * 100_003))]
        saved = Checkpoint(7, Path("there"), {}) if ranks.rank == 0 else None
        if saved is not None:
            object.__setattr__(saved, "content", lambda: content)
        found = ranks.same(saved)
        assert (found.step, found.path) == (7, Path("there"))
        sent = found.content() if ranks.rank == 0 else {name: found.read(name) for name in content}
        said = [ranks.alike("a"), ranks.alike(f"rank {ranks.rank}"), ranks.alike("a" if ranks.rank else "b")]
        return {
            "sizes": sizes,
            "sent": {name: sha256(blob) for name, blob in sent.items()},
            "whole": {name: sha256(blob) for name, blob in content.items()},
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
            "gradients": {n: g if g is None else g[0] for n, g in gradients.items()},
            "loss": sum(loss.item() for loss in reduced),
        }
