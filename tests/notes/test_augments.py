"""Bugs of the course notes on how pictures reach the model, each law shown red on the notes' own way.

A law is a function of an implementation. It holds for ours, and it fails for the notes'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from clsfit_standard.augments.colour import Grayscale
from clsfit_standard.augments.geometry import CenterCrop, HorizontalFlip, RandomResizedCrop, Rotate
from clsfit_standard.augments.mixing import CutMix, MixUp
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from clsfit.data import canvases, sources
from clsfit.data.prepare import Prepare
from clsfit.data.table import SampleTable
from clsfit.keyed import Key
from clsfit.pipeline import Augmentation, Finish, Loader

Bytes = np.ndarray[Any, Any]
Way = Callable[[Sequence[Bytes]], list[Tensor]]
"""From pictures uint8 [H, W, 3] to what the model sees, each [C, h, w]: grey levels 0 to 255."""


class Arrays:
    """A data set of pixels."""

    def __init__(self, pictures: Sequence[Bytes]) -> None:
        self.pictures = pictures

    def table(self) -> SampleTable:
        n = len(self.pictures)
        names = tuple(f"{i}.png" for i in range(n))
        return SampleTable(names, ("a", "b"), np.arange(n) % 2, ("",) * n, ("",) * n, None)

    def read(self, row: int) -> Bytes:
        return self.pictures[row]


def ours(*augments: Any, size: tuple[int, int] = (200, 200), resize: Any = "short", epoch: int | None = 0) -> Way:
    """The pictures of one pass: of training's ``epoch``, or None for validation."""

    def way(pictures: Sequence[Bytes]) -> list[Tensor]:
        source, rows = Arrays(pictures), np.arange(len(pictures))
        made, _ = canvases.build(source, rows, Prepare(3, None), cache="memory", workers=0, skip_bad=False)
        finish = Finish(size, 3, resize, (0.0,), (1.0,))
        named = Augmentation([(type(augment).__name__, augment) for augment in augments])
        loader = Loader(made, rows % 2, finish, device="cpu", augments=named)
        batch = next(loader.batches(rows, [(0, len(rows))], epoch=epoch))
        return [(image * 255).round().to(torch.uint8) for image in batch.images]

    return way


def each(transform: Callable[[Tensor], Tensor]) -> Way:
    """The notes' way: a transform per picture, uint8 [3, H, W]."""
    return lambda pictures: [transform(torch.from_numpy(picture).permute(2, 0, 1)) for picture in pictures]


def white(high: int, wide: int, count: int = 12) -> list[Bytes]:
    return [np.full((high, wide, 3), 255, np.uint8)] * count


def colours(high: int, wide: int, count: int = 12) -> list[Bytes]:
    return list(np.random.default_rng(0).integers(0, 256, (count, high, wide, 3), dtype=np.uint8))


class Built:
    """The notes: a pipeline is built, and ``__getitem__`` does not call it."""

    def __init__(self, pictures: Sequence[Bytes]) -> None:
        self.pictures = pictures
        self.transform = v2.Compose([v2.Resize((200, 200)), v2.RandomHorizontalFlip()])

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(self.pictures[index]).permute(2, 0, 1)


def pictures_have_the_input_size(way: Way) -> None:
    for image in way([*colours(90, 120), *colours(250, 210)]):
        assert image.shape == (3, 200, 200)


def test_what_is_configured_is_applied() -> None:
    pictures_have_the_input_size(ours(HorizontalFlip(), RandomResizedCrop()))
    with pytest.raises(AssertionError):
        pictures_have_the_input_size(lambda pictures: [Built(pictures)[i] for i in range(len(pictures))])


Read = Callable[[Path], Bytes]


def ours_in_training(folder: Path) -> Bytes:
    source = sources.folder(folder)
    made, _ = canvases.build(source, np.arange(2), Prepare(3, None), cache="memory", workers=0, skip_bad=False)
    return np.asarray(made.get(0))


def ours_in_prediction(folder: Path) -> Bytes:
    return np.asarray(canvases.stream(sources.files([str(folder)]), Prepare(3, None)).get(0))


def notes_in_training(folder: Path) -> Bytes:
    """``cv2.imread`` in training, whose channels are blue, green, red; Pillow in prediction."""
    return notes_in_prediction(folder)[:, :, ::-1]


def notes_in_prediction(folder: Path) -> Bytes:
    return np.asarray(Image.open(folder / "a" / "1.png"))


def training_and_prediction_see_the_same(training: Read, prediction: Read, folder: Path) -> None:
    assert np.array_equal(training(folder), prediction(folder))


def test_one_way_to_decode(tmp_path: Path) -> None:
    for name, picture in zip("ab", colours(8, 8), strict=False):
        (tmp_path / name).mkdir()
        Image.fromarray(picture).save(tmp_path / name / "1.png")
    training_and_prediction_see_the_same(ours_in_training, ours_in_prediction, tmp_path)
    with pytest.raises(AssertionError):
        training_and_prediction_see_the_same(notes_in_training, notes_in_prediction, tmp_path)


def no_corner_is_black(way: Way) -> None:
    for image in way(white(240, 320)):
        assert (image == 255).all()


def notes_rotation() -> Way:
    torch.manual_seed(0)
    return each(v2.Compose([v2.CenterCrop(200), v2.RandomRotation(10)]))  # fill 0, nearest neighbour


def test_a_rotation_has_no_black_corners() -> None:
    no_corner_is_black(ours(Rotate(10.0)))
    with pytest.raises(AssertionError):
        no_corner_is_black(notes_rotation())


def a_turned_slope_is_a_slope(way: Way) -> None:
    """The values of a turned slope are those of the slope at the turned place, not of the nearest pixel's."""
    ramp = np.broadcast_to(2 * np.arange(100, dtype=np.uint8)[None, :, None], (100, 100, 3)).copy()
    for image in way([ramp] * 12):
        inner = image[0, 30:70, 30:70].double()
        y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
        plane = torch.stack([x.flatten(), y.flatten(), torch.ones(1600)], dim=1).double()
        fitted = plane @ torch.linalg.lstsq(plane, inner.flatten()[:, None]).solution
        assert (fitted[:, 0] - inner.flatten()).abs().max() <= 0.7  # a plane, but for rounding to levels


def test_a_rotation_interpolates() -> None:
    a_turned_slope_is_a_slope(ours(Rotate(10.0), size=(100, 100)))
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        a_turned_slope_is_a_slope(each(v2.RandomRotation(10)))


def test_a_centre_crop_never_pads() -> None:
    """The notes: ``CenterCrop((450, 360))``, right for pictures of one size; here they are smaller."""
    no_corner_is_black(ours(CenterCrop(0.9)))
    with pytest.raises(AssertionError):
        no_corner_is_black(each(v2.CenterCrop((450, 360))))


def validation_is_the_same_twice(way: Way) -> None:
    pictures = colours(20, 20)
    for one, other in zip(way(pictures), way(pictures), strict=True):
        assert torch.equal(one, other)


def training_sees_both_sides(way: Way) -> None:
    picture = colours(20, 20, 1)[0]
    seen = {tuple(image.flatten().tolist()) for image in way([picture] * 40)}
    assert seen == {tuple(side.transpose(2, 0, 1).flatten().tolist()) for side in (picture, picture[:, ::-1])}


def test_a_flip_is_for_training_only() -> None:
    """The notes use one pipeline for all parts."""
    validation_is_the_same_twice(ours(HorizontalFlip(), size=(20, 20), epoch=None))
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        validation_is_the_same_twice(each(v2.RandomHorizontalFlip()))


def test_a_flip_is_random() -> None:
    training_sees_both_sides(ours(HorizontalFlip(), size=(20, 20)))
    with pytest.raises(AssertionError):
        training_sees_both_sides(each(v2.functional.horizontal_flip))


def discs_stay_round(way: Way) -> None:
    """A picture of 450 x 360 with a disc in it."""
    y, x = np.mgrid[:450, :360]
    disc = ((x - 180) ** 2 + (y - 225) ** 2 < 120**2).astype(np.uint8) * 255
    (image,) = way([np.repeat(disc[:, :, None], 3, axis=2)])
    high, wide = ((image[0] > 127).any(1).sum(), (image[0] > 127).any(0).sum())
    assert abs(int(high) - int(wide)) <= 1


def test_a_resize_keeps_the_aspect() -> None:
    discs_stay_round(ours(resize="short"))
    discs_stay_round(ours(resize="pad"))
    with pytest.raises(AssertionError):
        discs_stay_round(each(v2.Resize((200, 200))))


def channels_stay(way: Way) -> None:
    """A network for colour pictures wants three channels."""
    for image in way(colours(20, 20)):
        assert image.shape[0] == 3


def test_grey_pictures_keep_three_channels() -> None:
    channels_stay(ours(Grayscale(3, 1.0), size=(20, 20)))
    with pytest.raises(AssertionError):
        channels_stay(each(v2.Grayscale()))


Mix = Callable[[Tensor, Tensor, Key], tuple[Tensor, Tensor]]


def ours_mixed(augment: Any) -> Mix:
    return lambda images, targets, key: augment.apply(images, targets, augment.draw(key, np.ones((len(images), 2))))


def plain_cutmix(images: Tensor, targets: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """CutMix, of which the notes have only the name, with the drawn lambda and classes counted in the batch."""
    augment = CutMix(4, (16, 16))
    mixed, _ = augment.apply(images, targets, augment.draw(key, np.ones((len(images), 2))))
    share = torch.from_numpy(augment.share(key.uniform(4)[:, :2])).float()[:, None]
    hot = F.one_hot(targets).float()
    return mixed, hot * share + hot.roll(-1, 0) * (1 - share)


def targets_say_what_is_seen(mix: Mix) -> None:
    """Each class has a grey level of its own: the share of its pixels is its share of the target."""
    targets = torch.arange(4).repeat(8)
    images = (targets * 50).to(torch.uint8)[:, None, None, None].expand(-1, 3, 16, 16).contiguous()
    mixed, soft = mix(images, targets, Key(0, 0, np.arange(32), "mix"))
    shares = torch.stack([(mixed == 50 * k).float().mean((1, 2, 3)) for k in range(4)], dim=1)
    assert (soft - shares).abs().max() < 1e-5


def every_batch_has_all_classes(mix: Mix) -> None:
    """Also one in which the last classes do not occur."""
    targets = torch.tensor([0, 1, 1, 0])
    _, soft = mix(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), targets, Key(0, 0, np.arange(4), "mix"))
    assert soft.shape == (4, 4)
    assert (soft.sum(1) - 1).abs().max() < 1e-6


def test_a_mixed_target_is_the_area_pasted() -> None:
    targets_say_what_is_seen(ours_mixed(CutMix(4, (16, 16))))
    with pytest.raises(AssertionError):
        targets_say_what_is_seen(plain_cutmix)


def test_a_mixed_target_has_the_classes_of_the_model() -> None:
    every_batch_has_all_classes(ours_mixed(CutMix(4, (16, 16))))
    every_batch_has_all_classes(ours_mixed(MixUp(4)))
    with pytest.raises(AssertionError):
        every_batch_has_all_classes(plain_cutmix)
