"""Optimizers against ``torch.optim``, to the bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from clsfit_standard.optimizers.adam import Adam
from clsfit_standard.optimizers.adamw import AdamW
from clsfit_standard.optimizers.base import LightOptimizer, laid_out
from clsfit_standard.optimizers.sgd import SGD
from torch import Tensor, nn

STEPS = 30

CASES = [
    pytest.param(SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4}, id="sgd"),
    pytest.param(SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.0}, id="sgd-no-decay"),
    pytest.param(SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.0, "weight_decay": 1e-2}, id="sgd-plain"),
    pytest.param(SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}, id="sgd-bare"),
    pytest.param(
        SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True}, id="nesterov"
    ),
    pytest.param(
        SGD, torch.optim.SGD, {"lr": 0.05, "momentum": 0.8, "weight_decay": 0.0, "nesterov": True}, id="nesterov-bare"
    ),
    pytest.param(Adam, torch.optim.Adam, {"lr": 1e-3, "weight_decay": 0.05}, id="adam"),
    pytest.param(Adam, torch.optim.Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5}, id="adam-bare"),
    pytest.param(AdamW, torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.01}, id="adamw"),
    pytest.param(
        AdamW, torch.optim.AdamW, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-5, "weight_decay": 0.0}, id="adamw-bare"
    ),
]


def net(dtype: torch.dtype = torch.float32, memory_format: torch.memory_format = torch.contiguous_format) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 16, 5), nn.Linear(5, 4)]
    return nn.Sequential(*layers).to(dtype).to(memory_format=memory_format)


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """As the core makes them: no decay on what has one dimension."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    return [{"params": weights}, {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]


def train(model: nn.Module, optimizer: Any, steps: range, skip: bool = True) -> None:
    """Steps that change the rate, and leave gradients out: of one layer now and then, of the last one at first."""
    parameters = list(model.parameters())
    dtype, memory_format = parameters[0].dtype, torch.contiguous_format
    if parameters[0].is_contiguous(memory_format=torch.channels_last):
        memory_format = torch.channels_last
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(6, 3, 6, 6, generator=generator).to(dtype).to(memory_format=memory_format)
        optimizer.param_groups[0]["lr"] *= 0.97
        model(images).square().mean().backward()
        if skip and step % 4 == 2:
            parameters[0].grad = None
        if skip and step < 5:
            parameters[-1].grad = None
        optimizer.step()
        optimizer.zero_grad()


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach() for p in model.parameters()]


def assert_equal(ours: nn.Module, theirs: nn.Module) -> None:
    for a, b in zip(weights(ours), weights(theirs), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_torchs_bits(ours: Any, theirs: Any, options: Any, dtype: torch.dtype, memory_format: Any) -> None:
    first, second = net(dtype, memory_format), net(dtype, memory_format)
    train(first, ours(groups(first), **options), range(STEPS))
    train(second, theirs(groups(second), **options), range(STEPS))
    assert_equal(first, second)
    assert not torch.equal(weights(first)[0], weights(net(dtype, memory_format))[0])


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_bits_of_torchs_foreach_form(ours: Any, theirs: Any, options: Any) -> None:
    first, second = net(), net()
    train(first, ours(groups(first), **options), range(STEPS))
    train(second, theirs(groups(second), foreach=True, **options), range(STEPS))
    assert_equal(first, second)


def test_the_defaults_are_torchs() -> None:
    for ours, theirs in ((Adam, torch.optim.Adam), (AdamW, torch.optim.AdamW)):
        expected = theirs(groups(net())).defaults
        assert ours(groups(net())).defaults == {name: expected[name] for name in ("lr", "betas", "eps", "weight_decay")}


def test_adams_penalty_is_no_decoupled_decay() -> None:
    """Where the gradient is 0, Adam's penalty moves every weight by the rate, AdamW's by a share of the weight."""
    for build, expected in ((Adam, [0.99, 99.99]), (AdamW, [0.999, 99.9])):
        weight = nn.Parameter(torch.tensor([1.0, 100.0], dtype=torch.float64))
        optimizer = build([{"params": [weight]}], lr=0.01, weight_decay=0.1)
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
        assert weight.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_resume_to_the_bit(ours: Any, theirs: Any, options: Any, memory_format: Any) -> None:
    """State as files keep it: contiguous, whatever its parameter's strides."""
    whole, left, right = (net(memory_format=memory_format) for _ in range(3))
    train(whole, ours(groups(whole), **options), range(20))
    optimizer = ours(groups(left), **options)
    train(left, optimizer, range(11))
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state.update({k: v.contiguous() for k, v in state.items() if isinstance(v, Tensor)})
    right.load_state_dict(left.state_dict())
    restored = ours(groups(right), **options)
    restored.load_state_dict(saved)
    for parameter, state in restored.state.items():
        for value in state.values():
            if isinstance(value, Tensor):
                assert value.stride() == parameter.stride()
    train(right, restored, range(11, 20))
    assert_equal(right, whole)


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_loading_copies(ours: Any, theirs: Any, options: Any) -> None:
    model = net()
    optimizer = ours(groups(model), **options)
    train(model, optimizer, range(3), skip=False)
    saved = optimizer.state_dict()
    before = copy.deepcopy(saved)
    other = net()
    restored = ours(groups(other), **options)
    restored.load_state_dict(saved)
    train(other, restored, range(3), skip=False)
    for key, state in before["state"].items():
        for name, value in state.items():
            assert torch.equal(torch.as_tensor(saved["state"][key][name]), torch.as_tensor(value))


@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_fused_form(monkeypatch: pytest.MonkeyPatch, ours: Any, theirs: Any, options: Any) -> None:
    """The kernels that CUDA uses, here on the CPU: torch's numbers, and gradients of other strides are laid out."""
    monkeypatch.setattr(LightOptimizer, "_choose_kernels", _always_fused)
    first, second = net(memory_format=torch.channels_last), net()
    optimizers = ours(groups(first), **options), theirs(groups(second), **options)
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        for number, (a, b) in enumerate(zip(first.parameters(), second.parameters(), strict=True)):
            b.grad = None if (step + number) % 5 == 0 else torch.randn(b.shape, generator=generator)
            a.grad = None if b.grad is None else b.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert first[0].weight.stride() != second[0].weight.stride()
    for a, b in zip(weights(first), weights(second), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def _always_fused(self: Any) -> None:
    self._step_supports_amp_scaling = True


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("bad", [0, 3])
@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_a_flagged_step_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, ours: Any, theirs: Any, options: Any, bad: int, shape: Any
) -> None:
    """Also the very first one: later steps are as if it had never been."""
    monkeypatch.setattr(LightOptimizer, "_choose_kernels", _always_fused)
    flagged, clean = net(), net()
    with_flag, without = ours(groups(flagged), **options), ours(groups(clean), **options)
    for step in range(6):
        for model, optimizer in ((flagged, with_flag), (clean, without)):
            if model is clean and step == bad:
                continue
            for number, p in enumerate(model.parameters()):
                p.grad = torch.full_like(p, 0.1 * (number + step + 1))
                if step == bad:
                    p.grad.fill_(float("nan"))
            optimizer.found_inf = torch.full(shape, float(step == bad))
            optimizer.step()
    assert_equal(flagged, clean)
    assert all(p.isfinite().all() for p in weights(flagged))


def test_cpu_declares_no_flag() -> None:
    for build in (SGD, Adam, AdamW):
        assert build(groups(net()))._step_supports_amp_scaling is False


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("ours", "theirs", "options"), CASES)
def test_cuda_is_fused(ours: Any, theirs: Any, options: Any) -> None:
    first, second = net().cuda(), net().cuda()
    optimizer = ours(groups(first), **options)
    assert optimizer._step_supports_amp_scaling is True
    reference = theirs(groups(second), fused=True, **options)
    for step in range(STEPS):
        torch.manual_seed(step)
        for a, b in zip(first.parameters(), second.parameters(), strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        optimizer.step()
        reference.step()
    assert_equal(first, second)


def test_laid_out_copies_only_what_differs() -> None:
    parameter = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    gradient = torch.arange(96.0).reshape(2, 3, 4, 4)
    (copied,) = laid_out([gradient], [parameter])
    assert copied.stride() == parameter.stride()
    assert torch.equal(copied, gradient)
    assert laid_out([copied], [parameter])[0] is copied


@pytest.mark.parametrize("build", [SGD, Adam, AdamW])
def test_is_a_torch_optimizer(build: Any) -> None:
    model = net()
    optimizer = build(groups(model), lr=0.1)
    assert isinstance(optimizer, torch.optim.Optimizer)
    calls: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
    train(model, optimizer, range(1))
    scheduler.step()
    assert calls == ["before", "after"]
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.01)
    assert optimizer.param_groups[1]["weight_decay"] == 0.0


@pytest.mark.parametrize("build", [SGD, Adam, AdamW])
def test_zero_grad_and_closure(build: Any) -> None:
    model = nn.Linear(2, 1)
    optimizer = build(model.parameters(), lr=0.1)

    def closure() -> Tensor:
        optimizer.zero_grad(set_to_none=False)
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    before = closure().item()
    assert optimizer.step(closure).item() == pytest.approx(before)
    assert closure().item() < before
    optimizer.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in model.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("build", [SGD, Adam, AdamW])
def test_copies_and_added_groups_work(build: Any) -> None:
    model = net()
    optimizer = build(groups(model))
    train(model, optimizer, range(2))
    duplicate = copy.deepcopy(optimizer)
    extra = nn.Parameter(torch.ones(3))
    duplicate.add_param_group({"params": [extra], "lr": 0.5})
    extra.grad = torch.ones(3)
    duplicate.step()
    assert (extra < 1).all()


def test_state_is_json_and_tensors() -> None:
    for build in (SGD, Adam, AdamW):
        model = net()
        optimizer = build(groups(model))
        train(model, optimizer, range(2))
        for state in optimizer.state_dict()["state"].values():
            assert state
            assert all(isinstance(value, float | Tensor) for value in state.values())
