"""torchvision's classifiers: the list, the drawn weights, any number of channels, sizes, weights from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from clsfit_standard.models import torchvision as ours
from clsfit_standard.offers.models import COMPONENTS, TORCHVISION
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.regnet import BlockParams

from clsfit.engine.checkpoint import load_weights
from clsfit.errors import ConfigError

SMALL = ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "resnet18", "efficientnet_b0"]


def theirs(name: str, **options: Any) -> nn.Module:
    return torchvision.models.get_model(name, weights=None, **options)


def built(name: str, num_classes: int, in_channels: int, size: tuple[int, int], **options: Any) -> Any:
    return getattr(ours, name)(num_classes=num_classes, in_channels=in_channels, input_size=size, **options)


def first_conv(model: nn.Module) -> nn.Conv2d:
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


def test_every_classifier_of_torchvision_is_offered() -> None:
    """A newer torchvision may have more of them; none may have gone."""
    installed = set(torchvision.models.list_models(module=torchvision.models))
    assert set(TORCHVISION) <= installed, "no longer in torchvision"
    assert {offer.name for offer in COMPONENTS} == {"small_cnn", "mlp", "airbench", *TORCHVISION}
    release = tuple(int(part) for part in torchvision.__version__.split(".")[:2])
    if release <= (0, 29):
        assert installed == set(TORCHVISION), "not offered yet"


def test_the_table_says_torchvisions_numbers() -> None:
    for name, family in TORCHVISION.items():
        builder = torchvision.models.get_model_builder(name)
        if name != "inception_v3":  # counted there with its auxiliary head
            weights: Any = torchvision.models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
            assert family.millions[name] == round(weights.meta["num_params"] / 1e6, 1), name
        if name != "squeezenet1_1":  # documented there by its repository
            assert family.paper in (builder.__doc__ or ""), name
    parameters = sum(p.numel() for p in theirs("inception_v3", aux_logits=False, init_weights=False).parameters())
    assert TORCHVISION["inception_v3"].millions["inception_v3"] == round(parameters / 1e6, 1)


def test_another_name_is_no_attribute() -> None:
    assert not hasattr(ours, "resnet19")


@pytest.mark.parametrize("name", SMALL)
def test_drawn_as_torchvision_draws(name: str) -> None:
    torch.manual_seed(0)
    model = built(name, 7, 3, (64, 64))
    torch.manual_seed(0)
    expected = theirs(name, num_classes=7).state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_drawn_by_the_same_rule(name: str, channels: int) -> None:
    model = built(name, 7, channels, (64, 64))
    logits = model(torch.randn(3, channels, 64, 64))
    assert logits.shape == (3, 7)
    F.cross_entropy(logits, torch.arange(3)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    mine, other = first_conv(model), first_conv(theirs(name))
    assert mine.in_channels == channels
    assert mine.weight[:, :1].shape == other.weight[:, :1].shape
    assert (mine.bias is None) == (other.bias is None)
    by_fan_in = name in {"squeezenet1_1", "shufflenet_v2_x0_5"}  # the others draw by the outputs
    ratio = mine.weight.std().item() / other.weight.std().item()
    assert ratio == pytest.approx((3 / channels) ** 0.5 if by_fan_in else 1.0, rel=0.15)
    assert not nn.modules.module._global_module_registration_hooks, "the hook is gone"


def refusal(name: str, size: tuple[int, int]) -> str:
    with pytest.raises(ConfigError) as refused:
        built(name, 5, 3, size)
    assert "--input-size" in refused.value.where
    return refused.value.remedy


@pytest.mark.parametrize(
    ("name", "size", "next_size"),
    [
        ("vit_b_16", (8, 8), 16),
        ("vit_b_32", (224, 192), 224),
        ("vit_b_16", (225, 225), 240),
        ("vit_h_14", (500, 500), 504),
        ("maxvit_t", (32, 224), 224),
        ("maxvit_t", (225, 224), 448),
        ("inception_v3", (74, 200), 75),
        ("squeezenet1_1", (16, 16), 17),
        ("vgg11", (31, 31), 32),
        ("swin_t", (3, 9), 4),
    ],
)
def test_sizes_that_do_not_fit_are_named(name: str, size: tuple[int, int], next_size: int) -> None:
    assert refusal(name, size).startswith(f"give --input-size {next_size},")


def test_googlenet_wants_what_torchvisions_transform_gives() -> None:
    """Without ``transform_input`` the pretrained normalisation is the one that it would have mapped to."""
    images = torch.rand(2, 3, 32, 32)

    def normalised(mean: Any, std: Any) -> Tensor:
        return (images - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    for name in ("googlenet", "inception_v3"):
        weights: Any = torchvision.models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
        transforms = weights.transforms()
        model: Any = theirs(name, init_weights=False, aux_logits=True, transform_input=True)
        wanted = getattr(ours, name).pretrained.preprocessing()
        given = model._transform_input(normalised(transforms.mean, transforms.std))
        torch.testing.assert_close(given, normalised(wanted.mean, wanted.std))
        assert wanted.input_size == (transforms.crop_size[0],) * 2


def test_preprocessing_is_torchvisions() -> None:
    wanted = ours.resnet18.pretrained.preprocessing()
    assert wanted.input_size == (224, 224)
    assert wanted.mean == (0.485, 0.456, 0.406)
    assert wanted.std == (0.229, 0.224, 0.225)
    assert ours.efficientnet_b1.pretrained.preprocessing().input_size == (240, 240)


def test_fit_leaves_out_auxiliary_heads() -> None:
    model = built("googlenet", 5, 3, (32, 32))
    tensors = theirs("googlenet", num_classes=5, init_weights=False, aux_logits=True).state_dict()
    assert len(tensors) > len(model.state_dict())
    assert ours.googlenet.pretrained.fit(tensors, model).keys() == model.state_dict().keys()


def test_fit_translates_densenets_old_names() -> None:
    model = built("densenet121", 5, 3, (32, 32))
    names = model.state_dict().keys()
    old = {name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): t for name, t in model.state_dict().items()}
    assert old.keys() != names
    assert ours.densenet121.pretrained.fit(old, model).keys() == names


def test_fit_interpolates_position_embeddings() -> None:
    with torch.device("meta"):
        model = built("vit_b_32", 5, 3, (64, 64))
    tensors = {"encoder.pos_embedding": torch.arange(10.0).view(1, 10, 1).expand(1, 10, 768), "other": torch.ones(2)}
    fitted = ours.vit_b_32.pretrained.fit(tensors, model)
    assert fitted["encoder.pos_embedding"].shape == (1, 5, 768)
    assert fitted["encoder.pos_embedding"][0, :, 0].tolist() == [0.0, 1.0, 3.0, 7.0, 9.0], "class token, then corners"
    assert fitted["other"] is tensors["other"]
    assert tensors["encoder.pos_embedding"].shape[1] == 10, "what was given is unchanged"


def test_weights_without_versions_are_loaded() -> None:
    """MNASNet asks for the version of what it loads, which model files and checkpoints do not hold."""
    model, other = (built("mnasnet0_5", 5, 3, (32, 32)) for _ in range(2))
    load_weights(other, nn.Identity(), {f"model.{name}": tensor for name, tensor in model.state_dict().items()})
    assert all(torch.equal(t, other.state_dict()[name]) for name, t in model.state_dict().items())


def on_meta(name: str, num_classes: int, in_channels: int, size: tuple[int, int]) -> Any:
    with torch.device("meta"):
        return built(name, num_classes, in_channels, size).eval()


@pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transformers(name: str, channels: int) -> None:
    model = on_meta(name, 5, channels, (64, 64))
    assert model(torch.empty(2, channels, 64, 64, device="meta")).shape == (2, 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on the meta device: shapes for two sizes and channels, the smallest picture, the last layer."""
    widths = BlockParams.from_init_params

    def on_the_host(**options: Any) -> Any:  # RegNet reads its widths from tensors
        with torch.device("cpu"):
            return widths(**options)

    monkeypatch.setattr(BlockParams, "from_init_params", on_the_host)
    weights: Any = torchvision.models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    side, patch = 224, 224 if name == "maxvit_t" else int(name[-2:]) if name.startswith("vit") else 0
    for channels, height in ((1, side), (3, 2 * side)):
        model = on_meta(name, 7, channels, (height, height))
        logits = model(torch.empty(2, channels, height, height, device="meta"))
        assert logits.shape == (2, 7)
        last = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None][-1]
        assert last.weight.shape[0] == 7
    with torch.device("meta"):
        expected = theirs(
            name, num_classes=7, **({"aux_logits": False, "init_weights": False} if ours._AUXILIARY.get(name) else {})
        )
    model = on_meta(name, 7, 3, (side, side))
    assert {k: t.shape for k, t in model.state_dict().items()} == {k: t.shape for k, t in expected.state_dict().items()}
    smallest = patch or {"swin": 4}.get(name[:4], 1 if name.startswith("efficientnet") else weights.meta["min_size"][0])
    model = on_meta(name, 7, 3, (smallest, smallest))
    assert model(torch.empty(2, 3, smallest, smallest, device="meta")).shape == (2, 7)
    if smallest > 1:
        refusal(name, (smallest - 1, smallest - 1))
