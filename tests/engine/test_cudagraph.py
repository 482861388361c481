"""Steps as a CUDA graph; where there is no GPU, with a graph that only records and repeats operations.

As a real one it runs no Python when it is replayed: the same operations read and write the same memory,
and every number that Python handed to an operation stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import safetensors.torch
import torch
from clsfit_standard.optimizers.base import LightOptimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import clsfit
from clsfit.engine import cudagraph, stepmode
from clsfit.errors import ConfigError, DivergedError, PluginError

STEPS = 7  # an epoch: 50 training pictures, six batches of 8 and one of 2

OPTIONS: dict[str, Any] = {
    "model": {"name": "small_cnn", "width": 4, "dropout": 0.3},  # with batch normalisation
    "metric": ["none", "accuracy"],
    "callback": ["none", "clip_gradients", {"name": "checkpoint", "every_steps": 3}, "ema"],
    "optimizer": {"name": "sgd", "lr": 0.0625},  # the same number in float32, as a graph has it
    "scheduler": "constant",
    "epochs": 3,
    "batch_size": 8,
    "threads": 1,
    "val_fraction": 0.2,
}


class Recording(TorchDispatchMode):
    """Stands for ``torch.cuda.CUDAGraph``."""

    made: ClassVar[list[Recording]] = []

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        Recording.made.append(self)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.name == "aten::_local_scalar_dense":
            raise RuntimeError("operation not permitted when stream is capturing")
        if func._schema.is_mutable or "batch_norm" in func._schema.name:  # which writes statistics unsaid
            for tensor in _tensors((args, kwargs)):
                self._before.setdefault(id(tensor), (tensor, tensor.clone()))
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    @contextmanager
    def capture(self) -> Iterator[None]:
        """What is called inside is kept, and leaves no trace: a capture computes nothing."""
        generator = torch.get_rng_state()
        with self:
            yield
        torch.set_rng_state(generator)
        for tensor, was in reversed(self._before.values()):
            tensor.detach().copy_(was)

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, kept in self.calls:
            result = func(*args, **kwargs)
            for mine, new in zip(_tensors(kept), _tensors(result), strict=True):
                if mine.data_ptr() != new.data_ptr():
                    mine.detach().copy_(new)


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.fixture(params=["recorded", pytest.param("cuda", marks=pytest.mark.gpu)])
def train(request: pytest.FixtureRequest, own: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``train(step, code, offered, pictures, output, **options)``, with graphs that record where there is no GPU."""
    Recording.made = []
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
    else:
        stream = SimpleNamespace(wait_stream=lambda other: None)
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Recording)
        monkeypatch.setattr(torch.cuda, "graph", lambda graph, **_: graph.capture())
        monkeypatch.setattr(stepmode, "_check_graph", lambda config, run: None)
        monkeypatch.setattr(LightOptimizer, "_choose_kernels", _fused)

    def trained(step: str, code: str, offered: Any, pictures: Path, output: Path, **options: Any) -> Any:
        device = "cuda" if request.param == "cuda" else "cpu"
        # the plugin is named after a number, so that a second run of one test can have its own
        return own(code, offered)(pictures, output, step=step, device=device, **(OPTIONS | options))

    return trained


def _fused(self: Any) -> None:
    self._step_supports_amp_scaling = True


def weights(run: clsfit.TrainedRun, name: str = "last.raw.safetensors") -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(run.directory / name)


def assert_same(one: clsfit.TrainedRun, other: clsfit.TrainedRun, **close: Any) -> None:
    on_cpu = not torch.cuda.is_available()
    close = close or ({"rtol": 0, "atol": 0} if on_cpu else {"rtol": 1e-4, "atol": 1e-5})
    for file in ("last.raw.safetensors", "last.safetensors"):
        found, expected = weights(one, file), weights(other, file)
        assert found.keys() == expected.keys()
        for name, tensor in found.items():
            torch.testing.assert_close(tensor, expected[name], msg=name, **close)
    exact = on_cpu and close["rtol"] == 0
    for mine, theirs in zip(one.metrics, other.metrics, strict=True):
        assert mine["lr"] == theirs["lr"]
        assert mine["step"] == theirs["step"]
        assert mine["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-12 if exact else 1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": {"name": "adamw", "lr": 0.0078125}},
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"loss": {"name": "cross_entropy", "class_weights": "balanced"}},
        {"augment": ["hflip", "mixup"], "loss": "cross_entropy"},
        {"callback": ["none", {"name": "freeze", "unfreeze_epoch": 2}, "ema"]},
    ],
    ids=lambda options: "-".join(options) or "sgd",
)
def test_a_graph_computes_what_python_would(train: Any, pictures: Path, tmp_path: Path, options: Any) -> None:
    eager = train("eager", "", {}, pictures, tmp_path / "eager", **options)
    graph = train("graph", "", {}, pictures, tmp_path / "graph", **options)
    assert_same(graph, eager)
    if Recording.made:
        # three steps of 3 * 7 are for warming up, one of each epoch is short
        unfrozen = "freeze" in str(options)
        assert [each.replays for each in Recording.made] == ([3, 3 + 6] if unfrozen else [3 + 6 + 6])


def test_the_short_batch_is_never_recorded(train: Any, pictures: Path, tmp_path: Path) -> None:
    """Its step is the fourth here, when the graph would be recorded."""
    eager = train("eager", "", {}, pictures, tmp_path / "eager", batch_size=16)
    graph = train("graph", "", {}, pictures, tmp_path / "graph", batch_size=16)
    assert_same(graph, eager)
    if Recording.made:
        assert [each.replays for each in Recording.made] == [3 + 3]


def test_rates_follow_the_scheduler(train: Any, pictures: Path, tmp_path: Path) -> None:
    options = {"scheduler": {"name": "cosine", "warmup_steps": 5}}
    eager = train("eager", "", {}, pictures, tmp_path / "eager", **options)
    graph = train("graph", "", {}, pictures, tmp_path / "graph", **options)
    assert_same(graph, eager, rtol=1e-4, atol=1e-6)


FAILS = """
class Fails:
    @hookimpl
    def on_step_end(self, run):
        failed = run.directory.path.parent / (run.directory.path.name + "-failed")
        if run.step == 12 and not failed.exists():
            failed.touch()
            raise ValueError
"""


@pytest.mark.usefixtures("train")
def test_a_resumed_run_ends_as_the_whole_one(
    request: pytest.FixtureRequest, own: Any, pictures: Path, tmp_path: Path
) -> None:
    """It makes plain steps where the other one replays."""
    train = own(FAILS, {"callback": "Fails"})  # one plugin, which a resumed run insists on
    options = OPTIONS | {
        "step": "graph",
        "device": "cuda" if request.node.callspec.params["train"] == "cuda" else "cpu",
        "optimizer": {"name": "adamw", "lr": 0.013},
        "scheduler": "cosine",
        "callback": ["none", {"name": "checkpoint", "every_steps": 9}, "ema", "mine"],
    }
    (tmp_path / "whole-failed").touch()
    whole = train(pictures, tmp_path / "whole", **options)
    with pytest.raises(PluginError, match="ValueError"):
        train(pictures, tmp_path / "run", **options)
    resumed = train(pictures, tmp_path / "run", resume=True, **options)
    assert_same(resumed, whole)


def test_plain_steps_have_the_rates_of_a_replay() -> None:
    """A replay reads them from float32 tensors; kernels for CUDA compute with them in double precision."""
    groups = [{"lr": 0.1}, {"lr": 0.3}]
    run: Any = SimpleNamespace(optimizer=SimpleNamespace(param_groups=groups), lr_factor=0.7)
    with cudagraph._rates_from(run, cudagraph._rounded(run)):
        rates = [group["lr"] for group in groups]
        assert rates == [torch.tensor(lr * 0.7).double().item() for lr in (0.1, 0.3)]
        assert rates != [0.1 * 0.7, 0.3 * 0.7]
        assert run.lr_factor == 1
    assert ([group["lr"] for group in groups], run.lr_factor) == ([0.1, 0.3], 0.7)


POISON = """
class Poison:
    poisoned = False

    @hookimpl
    def on_step_end(self, run):
        if run.step == 11 and not self.poisoned:
            self.poisoned = True
            with torch.no_grad():
                next(run.model.parameters()).fill_(float("nan"))
"""


def test_it_goes_back_and_goes_on_slower(train: Any, pictures: Path, tmp_path: Path) -> None:
    callbacks = ["none", {"name": "checkpoint", "every_steps": 8}, {"name": "rollback", "factor": 0.5}, "mine", "ema"]
    runs = [
        train(step, POISON, {"callback": "Poison"}, pictures, tmp_path / step, callback=callbacks)
        for step in ("eager", "graph")
    ]
    for run in runs:
        assert run.summary["rollbacks"] == [{"step": 12, "to_step": 8, "lr_factor": 0.5}]
    assert_same(*reversed(runs))
    if Recording.made:
        assert len(Recording.made) == 2  # the optimizer's state lies elsewhere after the return


def test_a_divergence_names_its_step_and_pictures(train: Any, pictures: Path, tmp_path: Path) -> None:
    callbacks = ["none", {"name": "checkpoint", "every_seconds": None}, "mine"]
    found = []
    for step in ("eager", "graph"):
        with pytest.raises(DivergedError, match="not finite at step 12 ") as caught:
            train(step, POISON, {"callback": "Poison"}, pictures, tmp_path / step, callback=callbacks)
        found.append(caught.value.pictures)
    assert found[0] == found[1]
    assert len(found[0]) == 8


WAITS = """
class Waits(torch.nn.Module):
    def forward(self, logits, targets):
        if logits.sum().item() > 1e9:
            raise ValueError
        return torch.nn.functional.cross_entropy(logits, targets, reduction="none")
"""


def test_a_step_that_waits_is_refused(train: Any, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be captured in a CUDA graph: .*capturing") as caught:
        train("graph", WAITS, {"loss": "Waits"}, pictures, tmp_path / "run", loss="mine")
    assert "--step eager" in str(caught.value)


IMAGES = """
class Looks(torch.nn.Module):
    def forward(self, logits, targets, images):
        values = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        return values * images.mean((1, 2, 3)).square()
"""


def test_a_loss_sees_the_pictures_of_its_step(train: Any, pictures: Path, tmp_path: Path) -> None:
    runs = [train(s, IMAGES, {"loss": "Looks"}, pictures, tmp_path / s, loss="mine") for s in ("eager", "graph")]
    assert_same(*reversed(runs))


def test_surroundings_are_what_a_graph_takes_for_given(train: Any, pictures: Path, tmp_path: Path) -> None:
    seen: list[Any] = []
    begin = cudagraph.Graphed.begin

    def look(self: Any, run: Any, *rest: Any) -> Any:
        before = cudagraph.surroundings(run)
        assert before == cudagraph.surroundings(run)
        run.optimizer.param_groups[0]["weight_decay"] = 0.25
        seen.append(before != cudagraph.surroundings(run))
        run.optimizer.param_groups[0]["weight_decay"] = before[3][0]["weight_decay"]
        return begin(self, run, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cudagraph.Graphed, "begin", look)
        train("graph", "", {}, pictures, tmp_path / "run")
    assert seen == [True] * 3
