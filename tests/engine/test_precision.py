"""Number formats as values: flags, the loss scale, and runs in half precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import clsfit
from clsfit.engine.precision import Precision, choose

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_flags(name: str, bad: float) -> None:
    precision = Precision(name, CPU)
    fine = [torch.ones(3), torch.ones(2, 2)]
    precision.check(fine, [torch.tensor(1.0)])
    assert precision.found.item() == precision.diverged.item() == 0
    precision.check([torch.ones(3), torch.tensor([1.0, bad])], [torch.tensor(1.0)])
    assert precision.found.item() == 1
    assert precision.diverged.item() == (0 if name == "fp16" else 1)  # fp16 may just need a smaller scale
    precision.check(fine, [torch.tensor(bad)])
    assert precision.found.item() == precision.diverged.item() == 1


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_memory_of_flags_is_taken_again_only_where_somebody_says_so(name: str) -> None:
    precision = Precision(name, CPU)
    fine, bad, loss = [torch.ones(3)], [torch.tensor([float("nan")])], [torch.tensor(1.0)]
    kept = []
    for gradients in (bad, fine, bad):
        precision.check(gradients, loss)
        kept.append(precision.found)
    precision.check(fine, loss)
    precision.reuse()
    before = precision.found
    precision.check(bad, loss)
    assert precision.found is before
    precision.check(fine, loss)
    assert [flag.item() for flag in (*kept, before, precision.found)] == [1, 0, 1, 1, 0]


def scale_of(precision: Precision) -> float:
    """The gradient of a loss that is the weight itself."""
    weight = torch.ones(1, requires_grad=True)
    precision.backward(weight * 1.0, None, 1, 1)
    assert weight.grad is not None
    return weight.grad.item()


def test_fp16_unscales_backs_off_and_grows() -> None:
    precision = Precision("fp16", CPU)
    loss = torch.tensor(2.0)
    assert scale_of(precision) == 65536
    gradient = torch.tensor([65536 * 3.0])
    precision.check([gradient], [loss])
    assert gradient.item() == 3.0
    precision.check([torch.tensor([float("inf")])], [loss])
    assert scale_of(precision) == 32768
    for _ in range(precision.interval):
        precision.check([torch.ones(1)], [loss])
    assert scale_of(precision) == 65536
    precision.check([torch.tensor([float("inf")])], [loss])
    other = Precision("fp16", CPU)
    other.load_state_dict(precision.state_dict())
    assert scale_of(other) == 32768
    precision.check([torch.tensor([float("inf")])], [loss])
    assert scale_of(other) == 32768, "it was copied"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["fp32", "fp16"])
@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("public", [False, True])
def test_gradients_are_of_the_mean_over_the_step(
    name: str, scalar: bool, weighted: bool, public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit those of differentiating the sum's quotient: 7 samples of a step of 11."""
    if public:  # as with a torch that has moved what its backward calls
        monkeypatch.setattr("clsfit.engine.precision._engine", None)
    if scalar and weighted:
        return  # refused when a run is built
    generator = torch.Generator().manual_seed(0)
    inputs, weights = torch.randn(7, 5, generator=generator), torch.rand(7, generator=generator)
    found, expected = (torch.linspace(-1, 1, 5).requires_grad_() for _ in range(2))
    precision = Precision(name, CPU)

    def values(weight: torch.Tensor) -> torch.Tensor:
        each = (inputs @ weight).square()
        return each.mean() if scalar else each

    precision.backward(values(found), weights if weighted else None, 7, 11)
    each = values(expected)
    total = each * 7 if scalar else (each * weights).sum() if weighted else each.sum()
    (total / 11 * (65536 if name == "fp16" else 1)).backward()
    assert found.grad is not None
    assert expected.grad is not None
    assert torch.equal(found.grad, expected.grad)


def test_fp16_gives_up_when_no_scale_helps() -> None:
    """A gradient that is NaN by itself would be skipped for ever, and the run would train nothing."""
    precision, flags = Precision("fp16", CPU), []
    for _ in range(18):
        precision.check([torch.tensor([float("nan")])], [torch.tensor(1.0)])
        flags.append(precision.diverged.item())
    assert flags == [0] * 16 + [1] * 2


def test_fp32_leaves_gradients_to_the_bit() -> None:
    gradient = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    kept = gradient.clone()
    Precision("fp32", CPU).check([gradient], [torch.tensor(0.0)])
    assert torch.equal(gradient, kept)
    assert Precision("fp32", CPU).state_dict() == {}


def test_auto_is_fp32_on_a_cpu() -> None:
    assert choose("auto", CPU) == "fp32"
    assert choose("bf16", CPU) == "bf16"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(pictures: Path, tmp_path: Path, precision: str) -> None:
    run = clsfit.train(
        pictures,
        output=tmp_path / "run",
        model={"name": "small_cnn", "width": 8},
        precision=precision,
        epochs=6,
        batch_size=8,
        verbosity=0,
    )
    assert run.metrics[-1]["train/loss"] < run.metrics[0]["train/loss"]
    assert run.summary["best"]["value"] > 0.6
    for name, tensor in clsfit.load(run.directory).module.state_dict().items():
        assert tensor.isfinite().all(), name
        assert tensor.dtype in {torch.float32, torch.int64}, name
