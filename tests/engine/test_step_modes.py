"""Ways to execute a step: what each computes, how ``auto`` chooses, what is refused and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch

import clsfit
from clsfit.engine import checkpoint, fit, stepmode
from clsfit.engine.compiled import full_size
from clsfit.engine.stepmode import Facts, choose
from clsfit.errors import CheckpointError, ConfigError, ResourceError
from clsfit.pipeline.batches import Window

STEPS = 4  # an epoch: 50 training pictures, three batches of 16 and one of 2

OPTIONS: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [8], "dropout": 0.3},
    "metric": ["none", "accuracy"],
    "callback": ["none", {"name": "checkpoint", "every_steps": 1}, "ema"],
    "epochs": 2,
    "batch_size": 16,
    "threads": 1,
    "verbosity": 0,
}


def train(pictures: Path, output: Path, **changed: Any) -> clsfit.TrainedRun:
    return clsfit.train(pictures, output=output, **(OPTIONS | changed))


def weights(directory: Path, name: str = "last.safetensors") -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(directory / name)


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A compiled run and an eager one with the rows of their batches, the compiled run's directory after each
    save, and how many graphs were compiled."""
    from torch._dynamo.utils import counters

    where = tmp_path_factory.mktemp("modes")
    rows: dict[str, list[list[int]]] = {}
    copies: dict[int, Path] = {}
    save, begin = checkpoint.save, fit.train_epoch

    def save_and_copy(run: Any) -> None:
        save(run)
        run.saver.flush()
        if run.mode.name == "compile" and run.step not in copies:
            copies[run.step] = Path(shutil.copytree(run.directory.path, where / f"after-{run.step}"))

    def noted(run: Any) -> None:
        batches = run.train.loader.batches

        def kept(*args: Any, **kwargs: Any) -> Any:
            for batch in batches(*args, **kwargs):
                rows.setdefault(run.mode.name, []).append(batch.rows.tolist())
                yield batch

        run.train.loader.batches = kept
        begin(run)
        run.train.loader.batches = batches

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLSFIT_CACHE", str(where / "cache"))
        patch.setattr(checkpoint, "save", save_and_copy)
        patch.setattr(fit, "train_epoch", noted)
        counters.clear()
        compiled = train(pictures, where / "compiled", step="compile")
        graphs = counters["stats"]["unique_graphs"]
        eager = train(pictures, where / "eager", step="eager")
    return compiled, eager, rows, copies, graphs


def test_compiling_changes_no_batch_and_hardly_a_loss(whole: Any) -> None:
    compiled, eager, rows, _, _ = whole
    assert rows["compile"] == rows["eager"]
    assert len(rows["compile"]) == 2 * STEPS
    for one, other in zip(compiled.metrics, eager.metrics, strict=True):
        # other random numbers in dropout: the compiler draws in its own way
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=0.1)
        assert one["val/loss"] == pytest.approx(other["val/loss"], rel=0.1)


def test_files_of_a_compiled_run_are_the_plain_model_s(whole: Any) -> None:
    compiled, eager, _, copies, _ = whole
    for name in ("last.safetensors", "best.safetensors", "last.raw.safetensors"):
        found, expected = weights(compiled.directory, name), weights(eager.directory, name)
        assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}
    for file in copies[STEPS].rglob("*"):
        assert not file.is_file() or b"_orig_mod" not in file.read_bytes(), file
    clsfit.load(compiled.directory / "last.safetensors")  # into a plain model, by its names


def test_the_short_last_batch_compiles_nothing(whole: Any) -> None:
    *_, graphs = whole
    assert graphs == 1


@pytest.mark.parametrize(("rank", "size"), [(0, 16), (1, 16), (2, 0)])
def test_a_rank_compiles_for_its_part_of_a_batch(rank: int, size: int) -> None:
    run: Any = SimpleNamespace(windows=[Window([(0, 32), (32, 40)], 40)], ranks=SimpleNamespace(share=None))
    assert full_size(run) == 32
    run.ranks.share = lambda bounds: (16 * rank, 16 * rank + 16) if rank < 2 else None
    assert full_size(run) == size


@pytest.mark.parametrize("step", [1, STEPS - 1, STEPS + 2])
def test_a_compiled_run_resumes_to_the_bit(whole: Any, pictures: Path, step: int) -> None:
    compiled, _, _, copies, _ = whole
    train(pictures, copies[step], resume=True)  # the record says how steps are executed
    for name in ("last.safetensors", "best.safetensors", "last.raw.safetensors"):
        assert (copies[step] / name).read_bytes() == (compiled.directory / name).read_bytes(), name
    assert [r["train/loss"] for r in rows_of(copies[step])] == [r["train/loss"] for r in compiled.metrics]


def rows_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_another_mode_is_another_run(whole: Any, pictures: Path) -> None:
    _, _, _, copies, _ = whole
    with pytest.raises(CheckpointError, match="step: compile -> eager"):
        train(pictures, copies[2], resume=True, step="eager")


def test_what_can_not_be_compiled_is_said(own: Any, pictures: Path, tmp_path: Path) -> None:
    import torch._dynamo.exc

    train = own("", {})
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: Any, **__: Any) -> Any:
            def call(*_: Any) -> None:
                raise torch._dynamo.exc.TorchDynamoException("no such operation\nand more")

            return call

        patch.setattr(torch, "compile", fail)
        with pytest.raises(ConfigError, match=r"torch\.compile fails on this model: .*: no such operation\n") as caught:
            train(pictures, tmp_path / "run", step="compile")
    assert "--step eager" in str(caught.value)


def test_without_a_compiler_it_ends_before_it_begins(
    own: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler --fast")
    with pytest.raises(ResourceError, match="there is no no-such-compiler") as caught:
        own("", {})(pictures, tmp_path / "run", step="compile")
    assert caught.value.exit_code == 5
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_auto_is_eager_on_a_cpu_and_recorded(pictures: Path, tmp_path: Path) -> None:
    run = train(pictures, tmp_path / "run", epochs=1, device="cpu")
    assert "step: eager\n" in (run.directory / "config.yaml").read_text()
    assert "step: eager (auto: always on cpu)" in (run.directory / "log.txt").read_text()


@pytest.mark.parametrize("mode", ["graph", "compile+graph"])
def test_a_graph_needs_cuda(pictures: Path, tmp_path: Path, mode: str) -> None:
    with pytest.raises(ConfigError, match=f"--step {mode.replace('+', '.')} needs a CUDA device.* on cpu") as caught:
        train(pictures, tmp_path / "run", step=mode, device="cpu")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "run" / "config.yaml").exists()


GPU = {"device": "cuda", "peak": 4e14}
SMALL = {"flops": 1e10, "operations": 200}  # 0.1 ms of arithmetic, 1.6 ms of calls
LARGE = {"flops": 6e12, "operations": 500}  # 60 ms, 4 ms


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"device": "cpu", "steps": 10**9, **LARGE}, "eager"),
        ({"device": "mps", "steps": 10**9, **LARGE}, "eager"),
        ({**GPU, **SMALL, "steps": 500}, "eager"),  # 0.8 s: the capture would take longer
        ({**GPU, **SMALL, "steps": 2_000}, "graph"),
        ({**GPU, **SMALL, "steps": 100_000}, "graph"),  # 10 s in a graph: compiling takes a minute
        ({**GPU, **SMALL, "steps": 10_000_000}, "compile+graph"),
        ({**GPU, **SMALL, "steps": 2_000, "no_graph": "x"}, "eager"),  # 3 s
        ({**GPU, **SMALL, "steps": 100_000, "no_graph": "x"}, "compile"),  # 160 s
        ({**GPU, **LARGE, "steps": 4_000}, "eager"),  # T * (1 - 1 / speedup) = 55 s
        ({**GPU, **LARGE, "steps": 4_700}, "compile"),  # 65 s
        ({**GPU, **LARGE, "steps": 4_700, "no_compile": "x"}, "eager"),
        ({**GPU, **SMALL, "steps": 10_000_000, "no_compile": "x"}, "graph"),
        ({**GPU, **SMALL, "steps": 10_000_000, "no_compile": "x", "no_graph": "y"}, "eager"),
    ],
)
def test_auto(facts: dict[str, Any], expected: str) -> None:
    mode, reason = choose(Facts(**facts))
    assert mode == expected, reason
    assert reason.startswith("auto: ")
    assert "\n" not in reason
    for part in ("graph", "compile"):
        named = facts.get(f"no_{part}")
        assert (f"no {part}: {named}" in reason) == (named is not None)


def test_the_work_of_a_step_is_counted(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Any] = []
    decide = stepmode.decide

    def look(config: Any, run: Any) -> Any:
        counted.append(stepmode._work(run))
        return decide(config, run)

    monkeypatch.setattr(stepmode, "decide", look)
    train(pictures, tmp_path / "run", epochs=1, model={"name": "mlp", "hidden": [8]})
    (flops, operations), *_ = counted
    assert flops == 3 * 16 * 2 * (64 * 8 + 8 * 3)  # two products, forward and twice that backward
    # flattened; for each layer its weights seen the other way round, a product with a sum; a ReLU
    assert 3 * 4 <= operations <= 3 * 8


HEEDLESS = """
class Look:
    @hookimpl
    def on_gradients(self, run):
        pass

class Careful(Look):
    graph_safe = True

class Torchs(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr)

class Plain(torch.nn.CrossEntropyLoss):
    pass

class Falling(torch.optim.lr_scheduler.StepLR):
    when = "epoch"

    def __init__(self, optimizer):
        super().__init__(optimizer, 1)
"""


@pytest.mark.parametrize(
    ("options", "offered", "named"),
    [
        ({"callback": ["none", "mine"]}, {"callback": "Look"}, ["callback 'mine' is told of on_gradients"]),
        ({"callback": ["none", "mine"]}, {"callback": "Careful"}, []),
        ({"callback": ["none", "clip_gradients", "ema", "early_stop"]}, {}, []),
        ({"optimizer": "mine"}, {"optimizer": "Torchs"}, ["optimizer 'mine' is not graph_safe"]),
        ({"scheduler": "mine"}, {"scheduler": "Falling"}, ["scheduler 'mine' is not graph_safe"]),
        ({"scheduler": "onecycle"}, {}, ["scheduler 'onecycle' is not graph_safe"]),
        ({"scheduler": {"name": "onecycle", "cycle_momentum": False}}, {}, []),
        ({"scheduler": "plateau", "loss": "focal", "optimizer": "adamw"}, {}, []),
        ({"callback": ["none", {"name": "accumulate", "steps": 2}]}, {}, ["a step accumulates several batches"]),
    ],
)
def test_what_keeps_a_run_out_of_a_graph_is_named(
    own: Any,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: Any,
    offered: Any,
    named: list[str],
) -> None:
    found: list[str] = []

    class Enough(Exception):
        pass

    def look(config: Any, run: Any) -> Any:
        run.optimizer._step_supports_amp_scaling = True  # as on CUDA
        found.extend(stepmode.obstacles(config, run))
        raise Enough

    monkeypatch.setattr(stepmode, "decide", look)
    with pytest.raises(Enough):
        own(HEEDLESS, offered)(pictures, tmp_path / "run", **options)
    assert len(found) == len(named)
    for line, start in zip(found, named, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, []),
        ({"model": "small_cnn", "loss": "focal"}, []),
        ({"loss": "label_smoothing"}, []),
        ({"model": "resnet18", "input_size": 32}, []),
        ({"loss": "mine"}, ["loss 'mine' does not declare graph_safe"]),
        ({"model": "squeezenet1_1", "input_size": 32}, ["model 'squeezenet1_1' does not declare graph_safe"]),
    ],
)
def test_auto_takes_no_graph_of_what_does_not_declare_it(
    own: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any, named: list[str]
) -> None:
    found: list[str] = []
    decide = stepmode.decide

    def look(config: Any, run: Any) -> Any:
        found.extend(stepmode.undeclared(config, run))
        return decide(config, run)

    monkeypatch.setattr(stepmode, "decide", look)
    own(HEEDLESS, {"loss": "Plain"})(pictures, tmp_path / "run", epochs=1, **options)
    assert found == named


OWN_CLEARING = """
class Plain(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr)

class Own(Plain):
    cleared = 0

    def zero_grad(self):
        self.cleared += 1
        super().zero_grad()

class Look:
    @hookimpl
    def on_step_end(self, run):
        assert all(p.grad is None for p in run.model.parameters())
        assert getattr(run.optimizer, "cleared", run.step) == run.step
"""


@pytest.mark.parametrize("optimizer", ["Plain", "Own"])
def test_gradients_are_cleared_in_the_optimizer_s_own_way(
    own: Any, pictures: Path, tmp_path: Path, optimizer: str
) -> None:
    train = own(OWN_CLEARING, {"optimizer": optimizer, "callback": "Look"})
    run = train(pictures, tmp_path / "run", optimizer="mine", callback=["none", "mine"])
    assert run.summary["stop_reason"] == "all epochs done"  # the callback raises where a gradient is left


def test_an_explicit_graph_is_refused_by_name(
    own: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = stepmode.decide

    def on_cuda(config: Any, run: Any) -> Any:
        run.device = torch.device("cuda", 0)
        return decide(config, run)

    monkeypatch.setattr(stepmode, "decide", on_cuda)
    with pytest.raises(ConfigError, match="--step graph: callback 'mine' is told of on_gradients") as caught:
        own(HEEDLESS, {"callback": "Look"})(pictures, tmp_path / "run", step="graph", callback=["none", "mine"])
    assert "1 more: optimizer 'adamw' is not graph_safe" in str(caught.value)
    assert caught.value.exit_code == 2
