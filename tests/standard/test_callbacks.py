"""Callbacks on a small stand-in for the run, told by pluggy as the core does it."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest
import torch
from clsfit_standard.callbacks.accumulate import Accumulate
from clsfit_standard.callbacks.checkpoint import Checkpoint
from clsfit_standard.callbacks.clip_gradients import ClipGradients
from clsfit_standard.callbacks.cudnn_benchmark import CudnnBenchmark
from clsfit_standard.callbacks.early_stop import EarlyStop
from hypothesis import given, settings
from hypothesis import strategies as st

from clsfit.errors import ConfigError
from clsfit.hookspecs import PROJECT, Moments


@dataclass(frozen=True)
class Monitor:
    key: str
    higher_is_better: bool

    def better(self, value: float | None, than: float | None, by: float = 0.0) -> bool:
        if value is None or math.isnan(value):
            return False
        return than is None or (value > than + by if self.higher_is_better else value < than - by)


MONITORS = {"val/accuracy": Monitor("val/accuracy", True), "val/loss": Monitor("val/loss", False)}


@dataclass
class FakeRun:
    monitor: Monitor = MONITORS["val/accuracy"]
    scores: dict[str, Any] = field(default_factory=dict)
    parameters: list[Any] = field(default_factory=list)
    epoch: int = 0
    step: int = 0
    improved: bool = False
    last_save: Any = None
    stopped: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)

    def monitor_for(self, key: str | None) -> Monitor:
        if key is None:
            return self.monitor
        if key not in MONITORS:
            raise ConfigError(f"there is no {key!r} to monitor")
        return MONITORS[key]

    def stop(self, reason: str) -> None:
        self.stopped.append(reason)

    def save_checkpoint(self) -> None:
        self.saved.append(f"checkpoint {self.step}")

    def save_models(self, *names: str) -> None:
        self.saved += [f"{name} {self.epoch}" for name in names]


def told(callback: Any) -> Any:
    """A hook caller to which ``callback`` alone listens, as in a run."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Moments)
    manager.register(callback)
    manager.check_pending()
    return manager.hook


def epochs(run: FakeRun, hook: Any, values: list[float | None]) -> int:
    """Epochs until the run is stopped, or all."""
    for value in values:
        run.epoch += 1
        run.scores = {run.monitor.key: value, "val/loss": value}
        hook.on_epoch_end(run=run)
        if run.stopped:
            break
    return run.epoch


@pytest.mark.parametrize("patience", [1, 3, 10])
def test_early_stop_waits_exactly_patience_epochs(patience: int) -> None:
    run = FakeRun()
    assert epochs(run, told(EarlyStop(patience=patience)), [0.5, 0.6] + [0.6] * 50) == 2 + patience
    assert "val/accuracy" in run.stopped[0]
    assert "best 0.6 in epoch 2" in run.stopped[0]


def test_early_stop_knows_the_direction() -> None:
    run = FakeRun()
    hook = told(EarlyStop(monitor="val/loss", patience=2))
    hook.on_fit_start(run=run)
    assert epochs(run, hook, [1.0, 0.9, 0.8, 0.9, 0.85, 0.7]) == 5
    assert run.monitor is MONITORS["val/accuracy"]


def test_early_stop_follows_the_runs_monitor() -> None:
    run = FakeRun()
    hook = told(EarlyStop(patience=1))
    hook.on_fit_start(run=run)
    told(Checkpoint(monitor="val/loss")).on_fit_start(run=run)
    assert epochs(run, hook, [1.0, 0.9, 0.8, 0.9]) == 4


def test_early_stop_min_delta_is_beaten_by_more() -> None:
    assert epochs(FakeRun(), told(EarlyStop(patience=2, min_delta=0.25)), [0.25, 0.5, 0.5, 0.75]) == 3
    assert epochs(FakeRun(), told(EarlyStop(patience=2, min_delta=0.25)), [0.25, 0.51, 0.6, 0.77]) == 4


def test_nan_and_none_are_no_improvement() -> None:
    run = FakeRun()
    assert epochs(run, told(EarlyStop(patience=3)), [None, float("nan"), None, 0.5]) == 3
    assert "no value" in run.stopped[0]
    assert epochs(FakeRun(), told(EarlyStop(patience=3)), [0.5, None, float("nan"), None]) == 4


def test_unknown_monitor_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigError):
        EarlyStop(monitor="val/nothing").check(FakeRun())
    with pytest.raises(ConfigError):
        Checkpoint(monitor="val/nothing").check(FakeRun())


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=1, max_size=20),
    patience=st.integers(1, 5),
    cut=st.integers(0, 20),
)
def test_early_stop_resumes(values: list[float], patience: int, cut: int) -> None:
    whole, resumed = FakeRun(), FakeRun()
    epochs(whole, told(EarlyStop(patience=patience)), values)
    first, second = EarlyStop(patience=patience), EarlyStop(patience=patience)
    epochs(resumed, told(first), values[:cut])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    if not resumed.stopped:
        epochs(resumed, told(second), values[cut:])
    assert (resumed.epoch, resumed.stopped) == (whole.epoch, whole.stopped)


def last_save(seconds_ago: float, duration: float, step: int = 8) -> Any:
    return SimpleNamespace(step=step, finished_at=time.monotonic() - seconds_ago, duration=duration)


def saves(callback: Checkpoint, run: FakeRun) -> bool:
    run.step += 1
    told(callback).on_step_end(run=run)
    return bool(run.saved)


@pytest.mark.parametrize(
    ("every", "ago", "duration", "expected"),
    [
        (60.0, 30.0, 0.1, False),
        (60.0, 61.0, 0.1, True),
        (60.0, 119.0, 2.0, False),  # 60 times 2 s have not passed
        (60.0, 121.0, 2.0, True),
        (5.0, 6.0, 0.1, True),
        (None, 1e6, 0.1, False),
    ],
)
def test_checkpoint_by_time(every: float | None, ago: float, duration: float, expected: bool) -> None:
    assert saves(Checkpoint(every_seconds=every), FakeRun(last_save=last_save(ago, duration))) is expected


@pytest.mark.parametrize(("ago", "expected"), [(121.0, False), (719.0, False), (721.0, True)])
def test_the_save_of_step_0_is_a_sixth_of_the_next(ago: float, expected: bool) -> None:
    assert saves(Checkpoint(), FakeRun(last_save=last_save(ago, 2.0, step=0))) is expected


def test_each_save_has_a_rest_of_its_own() -> None:
    run, callback = FakeRun(last_save=last_save(121.0, 2.0)), Checkpoint()
    assert saves(callback, run)
    for save, expected in ((None, False), (last_save(121.0, 3.0), False), (last_save(181.0, 3.0), True)):
        run.saved, run.last_save = [], save
        assert saves(callback, run) is expected


def test_checkpoint_by_time_needs_a_first_save() -> None:
    assert not saves(Checkpoint(every_seconds=0.001), FakeRun())


def test_checkpoint_by_steps_and_epochs_whatever_a_save_takes() -> None:
    run = FakeRun(last_save=last_save(0.0, 1e3))
    hook = told(Checkpoint(every_steps=4, every_epochs=2))
    for step in range(1, 13):
        run.step = step
        hook.on_step_end(run=run)
        if step % 3 == 0:
            run.epoch += 1
            hook.on_epoch_end(run=run)
    checkpoints = [line for line in run.saved if line.startswith("checkpoint")]
    assert checkpoints == ["checkpoint 4", "checkpoint 6", "checkpoint 8", "checkpoint 12", "checkpoint 12"]


def test_best_and_last_models() -> None:
    run = FakeRun()
    hook = told(Checkpoint())
    for epoch, improved in ((1, True), (2, False), (3, True), (4, False)):
        run.epoch, run.improved = epoch, improved
        hook.on_epoch_end(run=run)
    assert run.saved == ["best 1", "last 1", "last 2", "best 3", "last 3", "last 4"]
    run.saved, run.improved = [], False
    hook.on_epoch_end(run=run)
    assert run.saved == ["last 4"]


def test_checkpoint_chooses_the_monitor() -> None:
    run = FakeRun()
    told(Checkpoint(monitor="val/loss")).on_fit_start(run=run)
    assert run.monitor is MONITORS["val/loss"]
    told(Checkpoint()).on_fit_start(run=run)
    assert run.monitor is MONITORS["val/loss"]


def test_accumulate_says_its_steps() -> None:
    callback = Accumulate(4)
    told(callback)
    assert callback.accumulate == 4


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), max_norm=st.floats(0.01, 100), scale=st.sampled_from([0.0, 1e-3, 1.0, 1e3]))
def test_clip_is_torchs(seed: int, max_norm: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(3, 4), (4,), (2, 3, 3, 3), ()]
    ours, theirs = ([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2))
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        a.grad = torch.randn(a.shape, generator=generator) * scale
        b.grad = a.grad.clone()
    told(ClipGradients(max_norm)).on_gradients(run=FakeRun(parameters=ours))
    torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    for a, b in zip(ours[:-1], theirs[:-1], strict=True):
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad)
    norm = sum(p.grad.square().sum() for p in ours if p.grad is not None) ** 0.5
    assert norm <= max_norm * (1 + 1e-5)


def test_clip_without_gradients() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    told(ClipGradients(1.0)).on_gradients(run=FakeRun(parameters=[parameter]))
    assert parameter.grad is None


@pytest.mark.parametrize("before", [False, True])
def test_cudnn_tries_its_kernels_for_as_long_as_the_run(monkeypatch: pytest.MonkeyPatch, before: bool) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", before)
    hooks = told(CudnnBenchmark())
    hooks.on_fit_start(run=None)
    assert torch.backends.cudnn.benchmark
    hooks.on_fit_end(run=None)
    assert torch.backends.cudnn.benchmark is before


def test_cudnn_keeps_what_a_run_that_never_began_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    told(CudnnBenchmark()).on_fit_end(run=None)
    assert torch.backends.cudnn.benchmark


def test_cudnn_has_nothing_to_try_elsewhere() -> None:
    CudnnBenchmark().check(SimpleNamespace(device=torch.device("cuda", 1)))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="this run is on cpu"):
        CudnnBenchmark().check(SimpleNamespace(device=torch.device("cpu")))  # type: ignore[arg-type]
