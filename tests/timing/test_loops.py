"""The loops that are measured: the run's own, on its own pictures or on one batch, and one written by hand."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clsfit.errors import ConfigError
from clsfit.timing import loops
from clsfit.timing.meter import Meter, pace_of, waiting_of

Builder = Callable[..., Callable[[], Any]]


def seen(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The pictures of every training batch that the net gets from now on."""
    from clsfit_standard.models.mlp import MLP

    batches: list[torch.Tensor] = []
    forward = MLP.forward

    def noting(self: MLP, images: torch.Tensor) -> torch.Tensor:
        if self.training and torch.is_grad_enabled():
            batches.append(images.clone())
        return forward(self, images)

    monkeypatch.setattr(MLP, "forward", noting)
    return batches


def test_one_batch_or_the_runs_own(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    build = builder(callback=[], epochs=100)
    batches = seen(monkeypatch)
    loops.own_loop(build, 0.05, static=True)
    whole = [images for images in batches if len(images) == 8]
    assert len(whole) > 10
    assert all(torch.equal(images, whole[0]) for images in whole)
    batches.clear()
    assert 0 < waiting_of(loops.own_loop(build, 0.05, static=False)) < 1
    run = build()
    own = [batch.images for batch in run.epoch_batches()]
    for trained, expected in zip(batches, own, strict=False):
        torch.testing.assert_close(trained, expected, rtol=0, atol=0)
    run.epoch = 1
    torch.testing.assert_close(batches[len(own)], next(run.epoch_batches()).images, rtol=0, atol=0)


def noting(build: Callable[[], Any]) -> tuple[list[Any], Callable[[], Any]]:
    """The runs that the second one makes, by ``build``."""
    made: list[Any] = []

    def make() -> Any:
        made.append(build())
        return made[-1]

    return made, make


def test_epochs_are_judged_and_a_new_run_follows_the_last_one(builder: Builder) -> None:
    made, build = noting(builder(epochs=2))
    loops.own_loop(build, 0.3, static=False)
    assert len(made) > 1
    for run in made[:-1]:
        assert (run.epoch, run.inside_epoch) == (2, False)
        assert "val/loss" in run.scores


def test_the_first_steps_of_a_new_run_do_not_count(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped: list[int] = []
    skip = Meter.skip

    def noting_skip(self: Meter, batches: int) -> None:
        skipped.append(batches)
        skip(self, batches)

    monkeypatch.setattr(Meter, "skip", noting_skip)
    made, build = noting(builder(epochs=2))
    loops.own_loop(build, 0.3, static=False)
    assert skipped == [min(4, run.total_steps // 2) for run in made[1:]]
    assert min(skipped) > 0


def test_runs_are_not_kept(builder: Builder) -> None:
    gone: list[Any] = []
    build = builder(epochs=2)

    def make() -> Any:
        run = build()
        gone.append(weakref.ref(run))
        return run

    meters = [loops.own_loop(make, 0.1, static=True), loops.hand_written(make, 0.05)[0]]
    loops.data_pace(make, 0.05)
    gc.collect()
    assert [run() for run in gone] == [None] * len(gone)
    assert all(meter is not None and meter.done for meter in meters)


def test_an_error_is_the_mode_s_to_explain(builder: Builder) -> None:
    run = builder(epochs=1)()
    run.mode = SimpleNamespace(explained=lambda error: ConfigError("torch.compile fails on this model", "", "eager"))
    run.loss = None
    with pytest.raises(ConfigError, match=r"torch\.compile fails"):
        loops.own_loop(lambda: run, 0.05, static=True)


def test_validation_does_not_count(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    close, validate = Meter.close, loops.fit.validate

    def noting_close(self: Meter) -> None:
        told.append("batch ended")
        close(self)

    def noting_validate(run: Any) -> None:
        told.append("validation")
        validate(run)

    monkeypatch.setattr(Meter, "close", noting_close)
    monkeypatch.setattr(loops.fit, "validate", noting_validate)
    build = builder(epochs=50)
    loops.own_loop(build, 0.05, static=False)
    places = [place for place, what in enumerate(told) if what == "validation"]
    assert len(places) > 1
    steps = build().steps_per_epoch
    # one for each batch as it is asked for, and the one that ends the epoch's last batch before it is judged
    assert all(told[place - steps - 1 : place] == ["batch ended"] * (steps + 1) for place in places)


def test_a_callback_that_stops_the_training_does_not_stop_the_measurement(builder: Builder) -> None:
    stops = {"name": "early_stop", "patience": 1, "min_delta": 100.0}
    made, build = noting(builder(epochs=20, callback=[stops]))
    loops.own_loop(build, 0.3, static=False)
    assert made[0].epoch > 3


def test_callbacks_are_told_of_the_end(builder: Builder) -> None:
    from clsfit import hookimpl
    from clsfit.engine.moments import CallbackHooks

    class Noting:
        told: list[str] = []  # noqa: RUF012 - one list for all

        @hookimpl
        def on_fit_start(self) -> None:
            self.told.append("start")

        @hookimpl
        def on_fit_end(self) -> None:
            self.told.append("end")

    run = builder(epochs=10**6)()
    run.hooks = CallbackHooks({"noting": Noting()})
    loops.own_loop(lambda: run, 0.02, static=False)
    assert Noting.told == ["start", "end"]


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"name": "sgd", "lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}, "SGD"),
        ({"name": "adamw", "lr": 0.01, "betas": [0.8, 0.9], "weight_decay": 0.1}, "AdamW"),
        ({"name": "adam", "lr": 0.01}, "Adam"),
    ],
)
def test_the_hand_written_loops_optimizer_does_what_the_runs_does(
    builder: Builder, option: dict[str, Any], name: str
) -> None:
    run = builder(optimizer=option)()
    plain = loops.plain_optimizer(run)
    assert type(plain) is getattr(torch.optim, name)
    start = [parameter.detach().clone() for parameter in run.parameters]
    updated = []
    for optimizer in (run.optimizer, plain):
        with torch.no_grad():
            for parameter, value in zip(run.parameters, start, strict=True):
                parameter.copy_(value)
                parameter.grad = torch.sin(value * 7 + 1)
        optimizer.step()
        optimizer.step()
        updated.append([parameter.detach().clone() for parameter in run.parameters])
    for ours, theirs in zip(*updated, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert any(not torch.equal(before, after) for before, after in zip(start, updated[0], strict=True))


def test_an_optimizer_that_torch_has_not_is_used_itself(builder: Builder) -> None:
    class Unheard(torch.optim.SGD):
        pass

    class LBFGS(torch.optim.SGD):
        """torch's takes one group only, and the core makes two."""

    run = builder()()
    for kind in (Unheard, LBFGS):
        run.optimizer = kind(run.optimizer.param_groups, lr=0.1)
        assert loops.plain_optimizer(run) is run.optimizer


def test_an_optimizer_that_evaluates_twice_has_no_hand_written_loop(builder: Builder) -> None:
    run = builder()()
    run.optimizer.needs_closure = True
    meter, why = loops.hand_written(lambda: run, 0.05)
    assert meter is None
    assert "more than once" in why


def test_the_hand_written_loop(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    build = builder(loss="focal")
    batches, threads = seen(monkeypatch), torch.get_num_threads()
    run = build()
    before = [parameter.detach().clone() for parameter in run.parameters]
    meter, name = loops.hand_written(lambda: run, 0.05, times=2, threads=2)
    assert meter is not None
    assert (pace_of(meter).rate > 0, name) == (True, "torch.optim.adamw.AdamW")
    assert {len(images) for images in batches} == {16}
    assert all(not torch.equal(old, new) for old, new in zip(before, run.parameters, strict=True))
    assert torch.get_num_threads() == threads


def test_data_alone_goes_through_the_epochs(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    run = builder()()
    batches = seen(monkeypatch)
    assert loops.data_pace(lambda: run, 0.05).rate > 0
    assert run.epoch > 1
    assert (batches, run.step) == ([], 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_waited_for() -> None:
    device = torch.device("cuda", 0)
    torch.cuda._sleep(10**8)
    event = torch.cuda.Event()
    event.record()
    loops.settle(device)
    assert event.query()
