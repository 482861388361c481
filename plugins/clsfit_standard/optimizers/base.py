"""What the bundled optimizers share: when to fuse, and how to stay light.

They are ``torch.optim.Optimizer`` objects, so that torch's schedulers and other tools take them. Its
methods carry a decorator that imports torch's compiler on the first call, half a second that a short
run notices; where the plain function lies below the decorator, that one is used.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from types import MethodType
from typing import Any

import torch
from torch import Tensor


def _plain(name: str) -> Callable[..., Any]:
    method = getattr(torch.optim.Optimizer, name)
    plain: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return plain


_add_param_group = _plain("add_param_group")
_load_state_dict = _plain("load_state_dict")


class LightOptimizer(torch.optim.Optimizer):
    """Steps by whole lists of tensors: fused kernels on CUDA, ``torch._foreach_*`` elsewhere.

    Attributes:
        _step_supports_amp_scaling: whether the fused kernels are used, which take ``found_inf`` (and
            ``grad_scale``): all parameters are floating, dense, of one type and on one CUDA device.
        rule: a group's options, less those of weight decay.
    """

    _step_supports_amp_scaling: bool
    _scalars: torch.dtype | None  # of scalars that may be tensors
    rule: Callable[[dict[str, Any]], Any]
    state_dict = _plain("state_dict")

    @property
    def graph_safe(self) -> bool:
        """Whether a CUDA graph may hold its step: the fused kernels read rates and flag from the device."""
        return self._step_supports_amp_scaling

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group ``{"params": tensors}``; options that it lacks are the optimizer's own."""
        _add_param_group(self, param_group)
        self._choose_kernels()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clears the gradients: drops them, or fills them with zeros."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if set_to_none:
                    parameter.grad = None
                elif parameter.grad is not None:
                    parameter.grad.detach_().zero_()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of ``state_dict``. State gets its parameter's strides, which files do not keep."""
        _load_state_dict(self, state_dict)
        for parameter, state in self.state.items():
            for name, value in state.items():
                state[name] = self.restored(parameter, name, value)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._choose_kernels()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of all parameters that have a gradient.

        Args:
            closure: evaluates the loss again and returns it; seldom needed.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        update = self.fused if self._step_supports_amp_scaling else self.foreach
        recorded = torch.is_grad_enabled()
        torch._C._set_grad_enabled(False)  # what no_grad does, in a fraction of its time
        try:
            for group, parameters, gradients in self._gathered():
                update(group, parameters, gradients, list(map(self.state.__getitem__, parameters)))
        finally:
            torch._C._set_grad_enabled(recorded)
        return loss

    def _gathered(self) -> list[tuple[dict[str, Any], list[Tensor], list[Tensor]]]:
        """Groups with their parameters that have a gradient, and those gradients.

        Without fused kernels the weight decay is done here, and groups that differ in nothing else become
        one: the core's do, and where tensors are small the number of calls is what takes the time.
        """
        found: list[tuple[dict[str, Any], list[Tensor], list[Tensor]]] = []
        for group in self.param_groups:
            parameters: list[Tensor] = group["params"]
            gradients = [gradient for p in parameters if (gradient := p.grad) is not None]
            if not gradients:
                continue
            if len(gradients) < len(parameters):
                parameters = [p for p in parameters if p.grad is not None]
            if not self._step_supports_amp_scaling:
                if group["weight_decay"] != 0:
                    gradients = self.decay(group, parameters, gradients)
                if found and self.rule(found[-1][0]) == self.rule(group):
                    first, others, theirs = found.pop()
                    group, parameters, gradients = first, others + parameters, theirs + gradients
            found.append((group, parameters, gradients))
        return found

    # Tells torch that step calls its hooks already, so that it does not wrap it: the wrapper takes
    # 11 us of a step of 30. It is put around the step of an optimizer that gets a hook, below.
    step.hooked = True  # type: ignore[attr-defined]

    def register_step_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """As torch's: ``hook(optimizer, args, kwargs)`` before each step."""
        self._call_hooks()
        return super().register_step_pre_hook(hook)

    def register_step_post_hook(self, hook: Callable[..., Any]) -> Any:
        """As torch's: ``hook(optimizer, args, kwargs)`` after each step."""
        self._call_hooks()
        return super().register_step_post_hook(hook)

    def decay(self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """The gradients to go on with, once ``group``'s weight decay, not 0, is done: here an L2 penalty's."""
        return list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))

    @abstractmethod
    def foreach(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """Updates ``parameters`` in place, their weight decay being done. ``gradients`` may not be changed."""

    @abstractmethod
    def fused(
        self, group: dict[str, Any], parameters: list[Tensor], gradients: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        """The same by one kernel, and nothing at all where ``self.found_inf`` is not 0."""

    def restored(self, parameter: Tensor, name: str, value: Any) -> Any:
        """State ``name`` of ``parameter`` as loaded: a copy with the parameter's strides."""
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        return value

    def amp_arguments(self) -> dict[str, Tensor | None]:
        """``grad_scale`` and ``found_inf``, scalars on the device, where the core or torch's GradScaler set them."""
        given = {name: getattr(self, name, None) for name in ("grad_scale", "found_inf")}
        return {name: None if value is None else value.reshape(()) for name, value in given.items()}

    def scalar(self, value: float) -> float | Tensor:
        """``value`` as a list of the parameters' kind is best multiplied by it, or divided, or added to.

        Of a number torch makes a float64 tensor for each tensor of the list, and casts it: ten times the
        work of multiplying a small one. The bits are those of the number, which is cast just so.
        """
        return value if self._scalars is None else _scalar(value, self._scalars)

    def _call_hooks(self) -> None:
        self.step = MethodType(self.profile_hook_step(type(self).step), self)  # type: ignore[method-assign]

    def _choose_kernels(self) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        kinds = {(p.device.type, p.dtype) for p in parameters}
        exact = kinds in ({("cpu", torch.float32)}, {("cpu", torch.float64)})
        self._scalars = parameters[0].dtype if exact else None
        self._step_supports_amp_scaling = (
            len({(p.device, p.dtype) for p in parameters}) == 1
            and parameters[0].is_cuda
            and parameters[0].is_floating_point()
            and all(p.stride() == torch.empty_like(p, device="meta").stride() for p in parameters)
        )


@lru_cache(64)  # far more than a step's: the same few come back at every step, and nobody writes to them
def _scalar(value: float, dtype: torch.dtype) -> Tensor:
    return torch.scalar_tensor(value, dtype=dtype, device="cpu")


def laid_out(tensors: list[Tensor], parameters: list[Tensor]) -> list[Tensor]:
    """``tensors``, each with its parameter's strides, copied where they differ.

    Fused kernels walk through memory side by side; with strides that differ they refuse (CUDA) or
    update the wrong elements (CPU).
    """
    return [
        t if t.stride() == p.stride() else torch.empty_like(p).copy_(t)
        for t, p in zip(tensors, parameters, strict=True)
    ]
