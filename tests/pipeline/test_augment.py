import numpy as np
import pytest
import torch

from clsfit.errors import ConfigError, PluginError
from clsfit.pipeline.augment import Augmentation, look_up

POSITIONS = np.arange(6)
SIZES = np.full((6, 2), 8)


class Fixed:
    """An augmentation whose matrix or table is given."""

    def __init__(self, **given):
        ((self._form, self._value),) = given.items()
        setattr(self, self._form, lambda *_: self._value)

    def draw(self, key, sizes):
        self.key = key
        return {}


def draw(*augments):
    named = [(f"a{i}", augment) for i, augment in enumerate(augments)]
    return Augmentation(named).draw(3, 1, POSITIONS, SIZES, (8, 8))


def test_matrices_compose_so_that_the_first_acts_on_the_picture_first():
    flip = np.tile(np.diag([-1.0, 1, 1]), (6, 1, 1))
    move = np.tile(np.array([[1.0, 0, 2], [0, 1, 0], [0, 0, 1]]), (6, 1, 1))
    # flip, then look 2 to the right: output 0 shows flipped 2, which is picture -2.
    assert (draw(Fixed(matrix=flip), Fixed(matrix=move)).matrices[0] @ [0, 0, 1]).tolist() == [-2, 0, 1]
    assert (draw(Fixed(matrix=move), Fixed(matrix=flip)).matrices[0] @ [0, 0, 1]).tolist() == [2, 0, 1]


def test_tables_compose_in_order_over_channels():
    add = np.clip(np.arange(256) + 10, 0, 255).astype(np.uint8)
    invert = np.stack([np.arange(256), 255 - np.arange(256), np.arange(256)]).astype(np.uint8)
    drawn = draw(Fixed(table=np.tile(add, (6, 1))), Fixed(table=np.tile(invert, (6, 1, 1))))
    assert drawn.matrices is None
    assert drawn.tables.shape == (6, 3, 256)
    assert drawn.tables[0, :, 5].tolist() == [15, 240, 15]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_look_up_equals_indexing(rows, layout):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
    tables = generator.integers(0, 256, (4, rows, 256), dtype=np.uint8)
    expected = np.stack([[tables[n, c % rows][images[n, c]] for c in range(3)] for n in range(4)])
    made = look_up(torch.from_numpy(images).to(memory_format=layout), torch.from_numpy(tables))
    assert np.array_equal(made.numpy(), expected)
    assert made.is_contiguous(memory_format=layout)


def test_each_place_draws_by_its_own_purpose():
    first, second = (Fixed(matrix=np.tile(np.eye(3), (6, 1, 1))) for _ in range(2))
    Augmentation([("x", first), ("x", second)]).draw(3, 1, POSITIONS, SIZES, (8, 8))
    assert first.key.purpose != second.key.purpose
    assert (first.key.seed, first.key.epoch) == (3, 1)


class Nothing:
    def draw(self, key, sizes):
        return {}


class Both(Nothing):
    def matrix(self, parameters, input_size): ...
    def table(self, parameters): ...


@pytest.mark.parametrize("augment", [Nothing(), Both()])
def test_an_object_without_exactly_one_form_is_refused_by_name(augment):
    with pytest.raises(PluginError, match="wobble"):
        Augmentation([("wobble", augment)])


@pytest.mark.parametrize(
    "given",
    [
        {"matrix": np.eye(3)},
        {"matrix": np.full((6, 3, 3), np.nan)},
        {"table": np.zeros((6, 255), np.uint8)},
        {"table": np.zeros((6, 256))},
    ],
)
def test_results_of_a_wrong_shape_are_refused(given):
    with pytest.raises(PluginError, match="a0"):
        draw(Fixed(**given))


@pytest.mark.parametrize(
    "wrong", [lambda i, t, p: (i.float(), t), lambda i, t, p: (i[:1], t), lambda i, t, p: (i, t.float())]
)
def test_a_wrong_apply_is_refused(wrong):
    augment = Nothing()
    augment.apply = wrong
    made = Augmentation([("smear", augment)])
    drawn = made.draw_applied(0, 0, POSITIONS, SIZES)
    with pytest.raises(PluginError, match="smear"):
        made.apply(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64), drawn)


class Weighing(Nothing):
    soft_targets = True

    def __init__(self, weighed):
        self.weigh = lambda weights, parameters: weighed(weights)

    def apply(self, images, targets, parameters):
        return images, targets


def test_weights_go_through_every_weigh_in_order():
    made = Augmentation([("double", Weighing(lambda w: 2 * w)), ("more", Weighing(lambda w: w + 1))])
    images, targets = torch.zeros(6, 3, 8, 8, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64)
    drawn = made.draw_applied(0, 0, POSITIONS, SIZES)
    assert made.apply(images, targets, drawn, torch.ones(6))[2].tolist() == [3.0] * 6
    assert made.apply(images, targets, drawn)[2] is None


@pytest.mark.parametrize("wrong", [lambda w: w[:1], lambda w: w.long()])
def test_a_wrong_weigh_is_refused(wrong):
    made = Augmentation([("smear", Weighing(wrong))])
    drawn = made.draw_applied(0, 0, POSITIONS, SIZES)
    with pytest.raises(PluginError, match="weigh"):
        made.apply(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64), drawn, torch.ones(6))


def test_what_is_always_applied_makes_no_soft_targets():
    augment = Weighing(lambda w: w)
    augment.always = True
    with pytest.raises(ConfigError, match="halve"):
        Augmentation([("halve", augment)])


def test_the_part_without_chance_keeps_the_order():
    augments = [Fixed(matrix=np.tile(np.diag([s, 1.0, 1]), (6, 1, 1))) for s in (2.0, 3.0, 5.0, 7.0)]
    augments[1].always = augments[3].always = True
    made = Augmentation([(f"a{i}", augment) for i, augment in enumerate(augments)])
    assert made.always == ("a1", "a3")
    part = made.without_chance()
    assert len(part) == 2
    assert part.always == made.always
    assert part.draw(3, 0, POSITIONS, SIZES, (8, 8)).matrices[0, 0, 0] == 21
    assert made.draw(3, 0, POSITIONS, SIZES, (8, 8)).matrices[0, 0, 0] == 210
