"""torchvision's classifiers, by the names that they have there. Only this module imports torchvision.

Importing it takes a second, so nothing else may. Every name of :data:`TORCHVISION` is an attribute of this
module: the model's factory. Those of :mod:`clsfit_standard.models.resnet` are offered from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from torchvision.models import VisionTransformer, get_model, get_model_weights
from torchvision.models.vision_transformer import interpolate_embeddings

from clsfit.contracts import Preprocessing
from clsfit.errors import ConfigError
from clsfit.foreign import download
from clsfit_standard.offers.models import TORCHVISION

_SMALLEST = {"swin": 4, "efficientnet_v2": 1}
"""Sides from which models work whose weights' ``min_size`` is what they were trained on, not a limit."""

_MAXVIT_STEP = 224
"""Each of MaxViT's maps, down to 1/32 of the picture, is cut into 7x7 parts."""

_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
"""Heads that help training in the paper's way, which the factories leave out."""

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")
"""In the file ``denselayer1.norm.1.weight``, in the module ``denselayer1.norm1.weight``."""


class Weights:
    """torchvision's best weights for a model, trained on ImageNet; see :class:`clsfit.contracts.Pretrained`.

    Args:
        name: the model's.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def preprocessing(self) -> Preprocessing:
        """The size at which torchvision evaluates the weights, and their normalisation."""
        transforms = get_model_weights(self.name).DEFAULT.transforms()
        (side,) = transforms.crop_size
        mean, std = tuple(transforms.mean), tuple(transforms.std)
        if self.name in _AUXILIARY:  # they would map ImageNet's normalisation to this one (transform_input)
            mean = std = (0.5, 0.5, 0.5)
        return Preprocessing((side, side), mean, std)

    def tensors(self) -> Mapping[str, Tensor]:
        """The tensors of the file that torchvision names, downloaded unless it lies in torch's cache."""
        return download(get_model_weights(self.name).DEFAULT.url)

    def fit(self, tensors: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Leaves out auxiliary heads, translates DenseNet's old names, interpolates position embeddings."""
        fitted = {
            _OLD_DENSENET.sub(r"\1", name): tensor
            for name, tensor in tensors.items()
            if name.split(".")[0] not in _AUXILIARY.get(self.name, ())
        }
        if isinstance(model, VisionTransformer):
            given, own = fitted.get("encoder.pos_embedding"), model.encoder.pos_embedding
            if given is not None and given.shape[::2] == own.shape[::2] and _is_square(given.shape[1] - 1):
                return dict(interpolate_embeddings(model.image_size, model.patch_size, fitted))
        return fitted


class Torchvision:
    """The factory of one of torchvision's classifiers.

    Attributes:
        pretrained: its weights.
    """

    def __init__(self, name: str) -> None:
        family = TORCHVISION[name]
        self.name, self.pretrained = name, Weights(name)
        self.__doc__ = f"{name}, torchvision's {family.title}, untrained; https://arxiv.org/abs/{family.paper}"

    def __call__(self, num_classes: int, in_channels: int, input_size: tuple[int, int]) -> nn.Module:
        """The model, drawn as torchvision draws it.

        Args:
            num_classes: K, units of the head.
            in_channels: C, any number.
            input_size: (H, W) in pixels.

        Raises:
            ConfigError: the model takes no pictures of this size.
        """
        change = None if in_channels == 3 else lambda conv: convolution_like(conv, in_channels)
        return self.build(num_classes, input_size, change)

    def build(
        self, num_classes: int, input_size: tuple[int, int], change: Callable[[nn.Conv2d], nn.Conv2d] | None
    ) -> nn.Module:
        """The model with ``change`` of its first convolution in that one's place."""
        options = self.options(input_size)
        if change is None:
            return get_model(self.name, weights=None, num_classes=num_classes, **options)
        with first_convolution(change):
            return get_model(self.name, weights=None, num_classes=num_classes, **options)

    def options(self, input_size: tuple[int, int]) -> dict[str, Any]:
        """What torchvision's builder is told beside the classes."""
        smallest = next((side for prefix, side in _SMALLEST.items() if self.name.startswith(prefix)), None)
        smallest = smallest or get_model_weights(self.name).DEFAULT.meta["min_size"][0]
        if min(input_size) < smallest:
            raise self.wrong_size(input_size, f"at least {smallest} pixels a side", smallest)
        return {}

    def wrong_size(self, input_size: tuple[int, int], needed: str, side: int) -> ConfigError:
        """The error that names the nearest square that would do."""
        height, width = input_size
        return ConfigError(
            f"model {self.name!r} takes no pictures of {height}x{width} pixels: it needs {needed}",
            "option --input-size",
            f"give --input-size {side}, or choose another model",
        )


class WithoutAuxiliary(Torchvision):
    """The factory of a model whose auxiliary heads, which a training loop would have to know, are left out."""

    def options(self, input_size: tuple[int, int]) -> dict[str, Any]:
        """No auxiliary heads, no hidden change of the pictures, the present rule of drawing the weights."""
        super().options(input_size)
        return {"aux_logits": False, "transform_input": False, "init_weights": True}


class ViT(Torchvision):
    """The factory of a vision transformer, which is made for one size of pictures."""

    def options(self, input_size: tuple[int, int]) -> dict[str, Any]:
        """The size, a square of whole patches."""
        patch, side = int(self.name.rpartition("_")[2]), max(input_size)
        if min(input_size) != side or side % patch:
            next_side = -(-side // patch) * patch
            raise self.wrong_size(input_size, f"a square whose side is a multiple of {patch}", next_side)
        return {"image_size": side}


class MaxViT(Torchvision):
    """The factory of MaxViT, which is made for one size of pictures."""

    def options(self, input_size: tuple[int, int]) -> dict[str, Any]:
        """The size, whole windows on every map."""
        if any(side % _MAXVIT_STEP for side in input_size):
            side = -(-max(input_size) // _MAXVIT_STEP) * _MAXVIT_STEP
            raise self.wrong_size(input_size, f"sides that are multiples of {_MAXVIT_STEP}", side)
        return {"input_size": input_size}


@contextmanager
def first_convolution(change: Callable[[nn.Conv2d], nn.Conv2d]) -> Iterator[None]:
    """Puts ``change(convolution)`` in the place of the convolution of three channels in a module built inside.

    It is there before the module draws its weights, so it is drawn by the module's own rule. Later
    convolutions have more channels, and are not always built later.
    """
    changed = False

    def hook(_module: nn.Module, _name: str, submodule: nn.Module | None) -> nn.Module | None:
        nonlocal changed
        if changed or not isinstance(submodule, nn.Conv2d) or submodule.in_channels != 3:
            return None
        changed = True
        return change(submodule)

    handle = register_module_module_registration_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def convolution_like(conv: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    """A convolution as ``conv`` (of one group), for ``in_channels`` channels."""
    return nn.Conv2d(
        in_channels,
        conv.out_channels,
        kernel_size=conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )


def _is_square(number: int) -> bool:
    return round(number**0.5) ** 2 == number


@cache
def _factory(name: str) -> Torchvision:
    if name in _AUXILIARY:
        return WithoutAuxiliary(name)
    return {"vit": ViT, "maxvit": MaxViT}.get(name.split("_")[0], Torchvision)(name)


def __getattr__(name: str) -> Torchvision:
    if name not in TORCHVISION:
        raise AttributeError(f"torchvision has no classifier {name!r}")
    return _factory(name)
