"""The models on offer, with their options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from annotated_types import Ge, Gt, Lt

from clsfit import Component
from clsfit_standard.offers.none import NoOptions


@dataclass(eq=False, repr=False)
class SmallCNNOptions:
    width: Annotated[int, "channels of the first convolution", Ge(1)] = 32
    dropout: Annotated[float, "probability of dropping a feature before the last layer", Ge(0), Lt(1)] = 0.0


@dataclass(eq=False, repr=False)
class MLPOptions:
    hidden: Annotated[tuple[Annotated[int, Ge(1)], ...], "units of each hidden layer; empty: a linear model"] = (128,)
    dropout: Annotated[float, "probability of dropping a unit of a hidden layer", Ge(0), Lt(1)] = 0.0


@dataclass(eq=False, repr=False)
class AirbenchOptions:
    widths: Annotated[
        tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)], Annotated[int, Ge(1)]], "channels of the three blocks"
    ] = (64, 256, 256)
    logit_scale: Annotated[float, "what logits are multiplied by", Gt(0)] = 1 / 9
    bias_rate: Annotated[
        float, "learning rate of the normalisations' biases under SGD, as a multiple of the optimizer's", Gt(0)
    ] = 64.0


@dataclass(eq=False, repr=False)
class ResNetOptions:
    stem: Annotated[
        Literal["imagenet", "small"],
        "first layers: 7x7 with stride 4 for photographs, or 3x3 with stride 1 for pictures below 65 pixels",
    ] = "imagenet"


class _Family(NamedTuple):
    """Models of one paper.

    Attributes:
        title: what the paper calls them.
        paper: its number at arXiv.
        millions: parameters of each in millions, with a head of 1000 classes.
    """

    title: str
    paper: str
    millions: dict[str, float]


# fmt: off
_FAMILIES = (
    _Family("AlexNet", "1404.5997", {"alexnet": 61.1}),
    _Family("ConvNeXt", "2201.03545", {
        "convnext_tiny": 28.6, "convnext_small": 50.2, "convnext_base": 88.6, "convnext_large": 197.8}),
    _Family("DenseNet", "1608.06993", {
        "densenet121": 8.0, "densenet161": 28.7, "densenet169": 14.1, "densenet201": 20.0}),
    _Family("EfficientNet", "1905.11946", {
        "efficientnet_b0": 5.3, "efficientnet_b1": 7.8, "efficientnet_b2": 9.1, "efficientnet_b3": 12.2,
        "efficientnet_b4": 19.3, "efficientnet_b5": 30.4, "efficientnet_b6": 43.0, "efficientnet_b7": 66.3}),
    _Family("EfficientNetV2", "2104.00298", {
        "efficientnet_v2_s": 21.5, "efficientnet_v2_m": 54.1, "efficientnet_v2_l": 118.5}),
    _Family("GoogLeNet", "1409.4842", {"googlenet": 6.6}),
    _Family("Inception v3", "1512.00567", {"inception_v3": 23.8}),
    _Family("MaxViT", "2204.01697", {"maxvit_t": 30.9}),
    _Family("MNASNet", "1807.11626", {
        "mnasnet0_5": 2.2, "mnasnet0_75": 3.2, "mnasnet1_0": 4.4, "mnasnet1_3": 6.3}),
    _Family("MobileNetV2", "1801.04381", {"mobilenet_v2": 3.5}),
    _Family("MobileNetV3", "1905.02244", {"mobilenet_v3_small": 2.5, "mobilenet_v3_large": 5.5}),
    _Family("RegNetX", "2003.13678", {
        "regnet_x_400mf": 5.5, "regnet_x_800mf": 7.3, "regnet_x_1_6gf": 9.2, "regnet_x_3_2gf": 15.3,
        "regnet_x_8gf": 39.6, "regnet_x_16gf": 54.3, "regnet_x_32gf": 107.8}),
    _Family("RegNetY", "2003.13678", {
        "regnet_y_400mf": 4.3, "regnet_y_800mf": 6.4, "regnet_y_1_6gf": 11.2, "regnet_y_3_2gf": 19.4,
        "regnet_y_8gf": 39.4, "regnet_y_16gf": 83.6, "regnet_y_32gf": 145.0, "regnet_y_128gf": 644.8}),
    _Family("ResNet", "1512.03385", {
        "resnet18": 11.7, "resnet34": 21.8, "resnet50": 25.6, "resnet101": 44.5, "resnet152": 60.2}),
    _Family("ResNeXt", "1611.05431", {
        "resnext50_32x4d": 25.0, "resnext101_32x8d": 88.8, "resnext101_64x4d": 83.5}),
    _Family("Wide ResNet", "1605.07146", {"wide_resnet50_2": 68.9, "wide_resnet101_2": 126.9}),
    _Family("ShuffleNetV2", "1807.11164", {
        "shufflenet_v2_x0_5": 1.4, "shufflenet_v2_x1_0": 2.3, "shufflenet_v2_x1_5": 3.5, "shufflenet_v2_x2_0": 7.4}),
    _Family("SqueezeNet", "1602.07360", {"squeezenet1_0": 1.2, "squeezenet1_1": 1.2}),
    _Family("Swin Transformer", "2103.14030", {"swin_t": 28.3, "swin_s": 49.6, "swin_b": 87.8}),
    _Family("Swin Transformer V2", "2111.09883", {"swin_v2_t": 28.4, "swin_v2_s": 49.7, "swin_v2_b": 87.9}),
    _Family("VGG", "1409.1556", {
        "vgg11": 132.9, "vgg13": 133.0, "vgg16": 138.4, "vgg19": 143.7}),
    _Family("VGG with batch normalisation", "1409.1556", {
        "vgg11_bn": 132.9, "vgg13_bn": 133.1, "vgg16_bn": 138.4, "vgg19_bn": 143.7}),
    _Family("Vision Transformer", "2010.11929", {
        "vit_b_16": 86.6, "vit_b_32": 88.2, "vit_l_16": 304.3, "vit_l_32": 306.5, "vit_h_14": 633.5}),
)
# fmt: on

TORCHVISION = {name: family for family in _FAMILIES for name in family.millions}
"""torchvision's classifiers by their names there."""


def has_stem(name: str) -> bool:
    """Whether a model of :data:`TORCHVISION` is a ResNet, whose first layers can be chosen."""
    return TORCHVISION[name].title in {"ResNet", "ResNeXt", "Wide ResNet"}


def _of_torchvision(name: str) -> Component:
    family, module = TORCHVISION[name], "resnet" if has_stem(name) else "torchvision"
    return Component(
        name,
        f"clsfit_standard.models.{module}:{name}",
        f"torchvision's {family.title}, {family.millions[name]} million parameters",
        ResNetOptions if has_stem(name) else NoOptions,
        f"https://arxiv.org/abs/{family.paper}",
    )


COMPONENTS = (
    Component(
        "small_cnn",
        "clsfit_standard.models.small_cnn:SmallCNN",
        "a few convolutions, for pictures from 4x4 pixels",
        SmallCNNOptions,
    ),
    Component("mlp", "clsfit_standard.models.mlp:MLP", "fully connected layers", MLPOptions),
    Component(
        "airbench",
        "clsfit_standard.models.airbench:Airbench",
        "the network of a speed record on CIFAR-10, 2.0 million parameters; wants the callback whiten",
        AirbenchOptions,
        "https://arxiv.org/abs/2404.00498",
    ),
    *(_of_torchvision(name) for name in TORCHVISION),
)
