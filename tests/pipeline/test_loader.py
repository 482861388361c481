import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from clsfit_standard.augments import colour, geometry, mixing
from torchvision.transforms import v2

from clsfit import keyed
from clsfit.data.canvases import build
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.errors import PluginError
from clsfit.pipeline import Augmentation, Finish, Loader, batch_bounds
from clsfit.pipeline.batches import part
from clsfit.pipeline.loader import Batch

TF = v2.functional
COUNT, SIDE = 75, 12
TARGETS = np.arange(COUNT) % 7
ROWS = keyed.permutation(5, COUNT)
BOUNDS = batch_bounds(COUNT, 8)


def finish(size=SIDE, channels=3):
    return Finish((size, size), channels, "short", (0.45,), (0.25,))


def loader(canvases, *augments, size=SIDE, channels=3, **options):
    named = [(type(augment).__name__, augment) for augment in augments]
    made = Augmentation(named) if named else None
    return Loader(canvases, TARGETS, finish(size, channels), device="cpu", augments=made, seed=9, **options)


def passed(made, bounds=BOUNDS, epoch=2):
    return list(made.batches(ROWS, bounds, epoch=epoch))


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        assert a.targets.dtype == b.targets.dtype
        assert (a.weights is None) == (b.weights is None)
        assert a.weights is None or torch.equal(a.weights, b.weights)
        assert np.array_equal(a.rows, b.rows)
        assert a.errors == b.errors


def bundled(kind, channels=3):
    """The bundled plugin's, alone and together."""
    boxes, turn, middle = geometry.RandomResizedCrop((0.2, 1.0)), geometry.Rotate(20.0), geometry.CenterCrop(0.7)
    mixers = [mixing.MixUp(7, p=0.7), mixing.CutMix(7, (SIDE, SIDE), p=0.7)]
    grey = [colour.Grayscale(3, 0.5)] if channels == 3 else []
    return {
        "random_resized_crop": [boxes],
        "rotate": [turn],
        "rotate, black": [geometry.Rotate(20.0, "black")],
        "center_crop": [middle],
        "grayscale": grey,
        "mixup": mixers[:1],
        "cutmix": mixers[1:],
        "together": [geometry.HorizontalFlip(), boxes, turn, middle, *grey, *mixers],
    }[kind]


BUNDLED = ["random_resized_crop", "rotate", "rotate, black", "center_crop", "grayscale", "mixup", "cutmix", "together"]


def augments_of(fakes, kind, channels=3):
    if kind in BUNDLED:
        return bundled(kind, channels)
    return {
        "none": [],
        "crop": [fakes.Crop(3), fakes.HFlip()],
        "huge crop": [fakes.Crop(40)],
        "rotate": [fakes.Rotate(), fakes.HFlip()],
        "zoom": [fakes.Zoom(), fakes.HFlip()],
        "all": [fakes.HFlip(), fakes.Rotate(), fakes.Zoom(), fakes.Brighten(), fakes.Crop(2), fakes.Brighten()],
        "mix": [fakes.Crop(3), fakes.Mix(7)],
    }[kind]


KINDS = ["none", "crop", "huge crop", "rotate", "zoom", "all", "mix"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", [*KINDS, *BUNDLED])
def test_both_forms_give_the_same_bits(fakes, noise, kind, channels):
    arrays = noise(COUNT, SIDE, channels)
    augments = augments_of(fakes, kind, channels)
    resident = loader(fakes.Canvases(arrays, uniform=True), *augments, channels=channels)
    single = loader(fakes.Canvases(arrays), *augments, channels=channels)
    assert (resident.tier, single.tier) == ("resident", "memory")
    assert_equal(passed(resident), passed(single))


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("kind", ["none", "all", "mix", "together"])
def test_workers_change_no_bit(fakes, noise, kind, workers):
    canvases = fakes.Canvases(noise(COUNT, (9, 30)))
    augments = augments_of(fakes, kind)
    assert_equal(passed(loader(canvases, *augments, workers=workers)), passed(loader(canvases, *augments)))


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("kind", ["crop", "all", "mix", *BUNDLED])
def test_a_start_at_a_later_bound_gives_the_same_batches(fakes, noise, kind, uniform):
    canvases = fakes.Canvases(noise(COUNT, SIDE), uniform=uniform)
    made = loader(canvases, *augments_of(fakes, kind), workers=2)
    assert_equal(passed(made, BOUNDS[3:]), passed(made)[3:])


def test_memory_format_changes_no_bit(fakes, noise):
    for uniform in (True, False):
        canvases = fakes.Canvases(noise(COUNT, SIDE), uniform=uniform)
        plain = passed(loader(canvases, fakes.Crop(3)))
        last = passed(loader(canvases, fakes.Crop(3), memory_format=torch.channels_last))
        assert_equal(plain, last)
        assert plain[0].images.is_contiguous()
        assert last[0].images.is_contiguous(memory_format=torch.channels_last)


def test_epochs_and_seeds_differ_and_no_epoch_means_no_augmentation(fakes, noise):
    canvases = fakes.Canvases(noise(COUNT, SIDE), uniform=True)
    made = loader(canvases, fakes.Crop(3), fakes.HFlip())
    first, second, plain = (passed(made, epoch=epoch)[0].images for epoch in (0, 1, None))
    assert not torch.equal(first, second)
    assert torch.equal(plain, passed(loader(canvases))[0].images)
    other = Loader(canvases, TARGETS, finish(), device="cpu", augments=Augmentation([("Crop", fakes.Crop(3))]), seed=10)
    assert not torch.equal(passed(other, epoch=0)[0].images, first)


@pytest.mark.parametrize("uniform", [True, False])
def test_crop_and_flip_equal_torchvision(fakes, noise, uniform):
    arrays = noise(COUNT, SIDE)
    crop, flip = fakes.Crop(4), fakes.HFlip()
    made = loader(fakes.Canvases(arrays, uniform=uniform), crop, flip)
    for (start, stop), batch in zip(BOUNDS, passed(made), strict=True):
        positions = np.arange(start, stop)
        sizes = np.full((stop - start, 2), SIDE)
        drawn = crop.draw(keyed.Key(9, 2, positions, "augment/0/Crop"), sizes)
        flips = flip.draw(keyed.Key(9, 2, positions, "augment/1/HFlip"), sizes)["flip"]
        for k, (top, left) in enumerate(crop.corner(drawn, (SIDE, SIDE)).tolist()):
            picture = torch.from_numpy(arrays[ROWS[start + k]].copy()).permute(2, 0, 1)
            picture = TF.crop(TF.pad(picture, [4, 4, 4, 4]), top + 4, left + 4, SIDE, SIDE)
            picture = TF.horizontal_flip(picture) if flips[k] else picture
            assert torch.equal(batch.images[k], finish().normalise(picture[None])[0])


def test_a_crop_reaches_the_whole_resized_canvas(fakes, noise):
    canvases = fakes.Canvases([np.arange(40, dtype=np.uint8)[None, :, None].repeat(20, 0)] * COUNT)
    made = loader(canvases, fakes.Crop(0), size=10, channels=1)  # resized to 10 x 20: windows start at 0..10
    levels = [b.images[k, 0, 5, 0].item() for e in range(8) for b in passed(made, epoch=e) for k in range(len(b.rows))]
    starts = {round((level * 0.25 + 0.45) * 255) // 2 for level in levels}
    assert starts == set(range(11))


def test_weights_and_rows_follow_the_order(fakes, noise):
    weights = np.linspace(0, 1, COUNT)
    for uniform in (True, False):
        made = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=uniform), weights=weights)
        batches = passed(made, epoch=None)
        assert np.array_equal(np.concatenate([b.rows for b in batches]), ROWS)
        assert torch.equal(torch.cat([b.weights for b in batches]), torch.from_numpy(weights[ROWS].astype(np.float32)))
        assert torch.equal(torch.cat([b.targets for b in batches]), torch.from_numpy(TARGETS[ROWS]))


def test_soft_targets_come_from_the_micro_batch(fakes, noise):
    made = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=True), fakes.Mix(7))
    for batch in passed(made):
        assert batch.targets.dtype == torch.float32
        assert batch.targets.shape == (len(batch.rows), 7)
        torch.testing.assert_close(batch.targets.sum(1), torch.ones(len(batch.rows)))
        own = set(TARGETS[batch.rows].tolist())
        assert set(batch.targets.nonzero()[:, 1].tolist()) <= own


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_is_black_and_named_if_tolerated(fakes, noise, workers):
    broken = int(ROWS[10])
    canvases = fakes.Canvases(noise(COUNT, (9, 30)), unreadable=[broken])
    batches = passed(loader(canvases, tolerate=True, workers=workers), epoch=None)
    assert [batch.errors for batch in batches] == [
        {2: "a broken header"} if i == 1 else {} for i in range(len(batches))
    ]
    black = finish().normalise(torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8))[0]
    assert torch.equal(batches[1].images[2], black)
    assert not torch.equal(batches[1].images[3], black)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_picture_else_raises_and_leaves_no_thread(fakes, noise, workers):
    canvases = fakes.Canvases(noise(COUNT, (9, 30)), unreadable=[int(ROWS[30])])
    before = threading.active_count()
    with pytest.raises(PictureError, match="a broken header"):
        passed(loader(canvases, workers=workers), epoch=None)
    assert threading.active_count() == before


@pytest.mark.parametrize("failing", [False, True])
def test_closing_early_leaves_no_threads_and_reads_little_ahead(fakes, noise, failing):
    canvases = fakes.Canvases(noise(COUNT, (9, 30)))
    read = []
    canvases.get = lambda row: read.append(row) or canvases.arrays[row]
    augments = [fakes.Crop(1)] if failing else []
    before = threading.active_count()
    batches = loader(canvases, *augments, workers=2).batches(ROWS, BOUNDS, epoch=0)
    next(batches)
    assert threading.active_count() > before
    time.sleep(0.2)  # whatever would be read ahead is read now
    batches.close()
    assert threading.active_count() == before
    assert 8 <= len(read) <= (1 + 2 + 1) * 8


@pytest.mark.parametrize("at_once", [1, 20, 8 * COUNT])
def test_how_many_samples_are_drawn_at_once_changes_no_batch(fakes, noise, monkeypatch, at_once):
    canvases = fakes.Canvases(noise(COUNT, (9, 30)))
    expected = passed(loader(canvases, *augments_of(fakes, "all")), BOUNDS[1:-2])
    monkeypatch.setattr("clsfit.pipeline.jobs._DRAWN", at_once)
    assert_equal(passed(loader(canvases, *augments_of(fakes, "all"), workers=2), BOUNDS[1:-2]), expected)


def test_a_failing_draw_ends_the_threads(fakes, noise, monkeypatch):
    class Late(fakes.HFlip):
        def matrix(self, parameters, input_size):
            self.calls = getattr(self, "calls", 0) + 1
            return super().matrix(parameters, input_size) if self.calls < 6 else np.zeros(3)

    monkeypatch.setattr("clsfit.pipeline.jobs._DRAWN", 8)
    before = threading.active_count()
    with pytest.raises(PluginError, match="Late"):
        passed(loader(fakes.Canvases(noise(COUNT, (9, 30))), Late(), workers=2))
    assert threading.active_count() == before


@pytest.mark.parametrize("uniform", [True, False])
def test_global_generators_and_thread_counts_stay(fakes, noise, uniform):
    made = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=uniform), *augments_of(fakes, "all"), workers=2)
    born = []
    torch.manual_seed(4)
    np.random.seed(4)
    state, legacy, threads = torch.get_rng_state(), np.random.get_state(), torch.get_num_threads()
    batches = made.batches(ROWS, BOUNDS, epoch=0)
    next(batches)
    thread = threading.Thread(target=lambda: born.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    list(batches)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), legacy, strict=True))
    assert torch.get_num_threads() == threads
    assert born == [threads]


def test_workers_use_one_torch_thread_each(fakes, noise):
    canvases = fakes.Canvases(noise(COUNT, (9, 30)))
    counts = set()
    canvases.get = lambda row: counts.add(torch.get_num_threads()) or canvases.arrays[row]
    passed(loader(canvases, workers=2))
    assert counts == {1}


def test_more_batches_than_a_chunk_holds_and_none(fakes, noise):
    made = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=True), fakes.Crop(2))
    bounds = batch_bounds(COUNT, 2)  # 37 batches in chunks of 16
    whole = torch.cat([batch.images for batch in passed(made, bounds)])
    assert torch.equal(whole, torch.cat([batch.images for batch in passed(made)]))
    assert passed(made, []) == []
    for workers in (0, 2):
        assert passed(loader(fakes.Canvases(noise(COUNT, (9, 30))), workers=workers), []) == []


def test_chunks_are_bounded_in_bytes(fakes, noise, monkeypatch):
    monkeypatch.setattr("clsfit.pipeline.loader._CHUNK_BYTES", 4 * 3 * SIDE * SIDE * 20)
    made = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=True))
    storages = [batch.images.untyped_storage() for batch in passed(made)]
    assert max(storage.nbytes() for storage in storages) <= 4 * 3 * SIDE * SIDE * 20
    assert len({storage.data_ptr() for storage in storages}) == 5


def test_describe_says_the_tier_and_the_reason(fakes, noise):
    resident = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=True)).describe()
    assert "resident on cpu" in resident
    other = loader(fakes.Canvases(noise(COUNT, SIDE + 1), uniform=True, tier="disk"), workers=2)
    assert other.tier == "disk"
    for word in ("disk", "the test says so", "2 threads", "13x13"):
        assert word in other.describe()
    assert "\n" not in other.describe()


def test_describe_says_which_processes_decode(fakes, noise):
    by = "2 processes (spawn)"
    streamed = loader(fakes.Canvases(noise(COUNT, SIDE + 1), tier="stream", decoded_by=by), workers=2).describe()
    assert f"the test says so), {by}, cut one by one; " in streamed
    assert "threads" not in streamed
    kept = loader(fakes.Canvases(noise(COUNT, SIDE + 1), decoded_by=by), workers=3).describe()
    assert f"the test says so), decoded by {by}, 3 threads, cut one by one; " in kept
    resident = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=True, decoded_by=by)).describe()
    assert resident.endswith(f"resident on cpu, decoded by {by}")


def test_unknown_sizes_do_without_augmentation(fakes, noise):
    canvases = fakes.Canvases(noise(COUNT, (9, 30)), tier="stream")
    expected = passed(loader(canvases), epoch=None)
    canvases.sizes = np.zeros_like(canvases.sizes)
    assert_equal(passed(loader(canvases), epoch=None), expected)


@pytest.mark.parametrize("sizes", [SIDE, (9, 30)])
@pytest.mark.parametrize("kind", ["all", "together"])
def test_every_tier_of_real_canvases_gives_the_same_bits(fakes, noise, tmp_path, sizes, kind):
    source, prepare = fakes.Source(noise(COUNT, sizes), TARGETS), Prepare(3, None)
    made = {}
    for cache in ("memory", "disk", "off"):
        canvases, bad = build(
            source, np.arange(COUNT), prepare, cache=cache, workers=2, skip_bad=False, cache_dir=tmp_path / cache
        )
        assert not bad
        made[cache] = loader(canvases, *augments_of(fakes, kind), workers=2)
    expected = ["resident" if sizes == SIDE else "memory", "disk", "stream"]
    assert [made[cache].tier for cache in made] == expected
    for epoch in (2, None):
        assert_equal(passed(made["memory"], epoch=epoch), passed(made["disk"], epoch=epoch))
        assert_equal(passed(made["memory"], epoch=epoch), passed(made["off"], epoch=epoch))


class Invert:
    """A table, an apply or a matrix that is part of the preparation."""

    always = True

    def __init__(self, form):
        setattr(self, form, getattr(self, "_" + form))

    def draw(self, key, sizes):
        return {"sizes": sizes}

    def _table(self, parameters):
        levels = 255 - np.arange(256) - parameters["sizes"][:, :1] % 5  # by a size that a stream knows late
        return levels.clip(0).astype(np.uint8)

    def _apply(self, images, targets, parameters):
        return 255 - images + torch.from_numpy(parameters["sizes"][:, 0] % 5)[:, None, None, None].byte(), targets

    def _matrix(self, parameters, input_size):
        return np.tile(np.diag([0.5, 0.5, 1.0]), (len(parameters["sizes"]), 1, 1))


@pytest.mark.parametrize("form", ["table", "apply", "matrix"])
@pytest.mark.parametrize("sizes", [SIDE, (9, 30)])
def test_what_is_always_applied_needs_no_epoch_and_no_size(fakes, noise, form, sizes):
    """The same batches as in training without chance, also from a stream whose sizes nobody knows before."""
    arrays, augment = noise(COUNT, sizes), Invert(form)
    known = fakes.Canvases(arrays, uniform=sizes == SIDE)
    expected = passed(loader(known, augment), epoch=0)
    assert not torch.equal(expected[0].images, passed(loader(known), epoch=None)[0].images)
    assert_equal(passed(loader(known, augment, fakes.HFlip(), fakes.Mix(7)), epoch=None), expected)
    streamed = fakes.Canvases(arrays, tier="stream")
    streamed.sizes = np.ones_like(streamed.sizes)
    assert_equal(passed(loader(streamed, augment, workers=2), epoch=None), expected)


def test_an_unreadable_picture_keeps_its_place_in_what_is_always_applied(fakes, noise):
    arrays = noise(COUNT, (9, 30))
    whole = passed(loader(fakes.Canvases(arrays), Invert("table")), epoch=None)
    broken = fakes.Canvases(arrays, unreadable=[int(ROWS[3])])
    part = passed(loader(broken, Invert("table"), tolerate=True), epoch=None)
    assert list(part[0].errors) == [3]
    assert torch.equal(part[0].images[4:], whole[0].images[4:])


def test_mixing_mixes_the_samples_weights(fakes, noise):
    """The class weights follow the mixed targets, and so do the samples' own."""
    weights, by_class = np.linspace(1, 2, COUNT), np.linspace(1, 4, 7)
    for uniform in (True, False):
        mixer = mixing.MixUp(7, 1.0)
        made = loader(fakes.Canvases(noise(COUNT, SIDE), uniform=uniform), mixer, weights=weights)
        both = loader(
            fakes.Canvases(noise(COUNT, SIDE), uniform=uniform), mixer, weights=weights, class_weights=by_class
        )
        for (start, stop), batch, product in zip(BOUNDS, passed(made), passed(both), strict=True):
            key = keyed.Key(9, 2, np.arange(start, stop), "augment/0/MixUp")
            share = mixer.draw(key, np.ones((stop - start, 2)))["share"]
            own = weights[ROWS[start:stop]]
            expected = own * share + np.roll(own, -1) * (1 - share)
            np.testing.assert_allclose(batch.weights.numpy(), expected, rtol=1e-5)
            np.testing.assert_allclose(
                product.weights.numpy(), expected * (batch.targets.numpy() @ by_class), rtol=1e-5
            )


def of_all_ranks(made, world, bounds, epoch):
    """The whole batches, each put together from what the ranks have of it."""
    shares = [partial(part, rank=rank, world_size=world) for rank in range(world)]
    passes = [made.batches(ROWS, bounds, epoch=epoch, share=share) for share in shares]
    for whole in bounds:
        batches = [next(one) for one, share in zip(passes, shares, strict=True) if share(whole) is not None]
        weights = [batch.weights for batch in batches]
        lengths = np.cumsum([0, *(len(batch.rows) for batch in batches)])
        yield Batch(
            torch.cat([batch.images for batch in batches]),
            torch.cat([batch.targets for batch in batches]),
            None if weights[0] is None else torch.cat(weights),
            np.concatenate([batch.rows for batch in batches]),
            {first + k: why for first, b in zip(lengths, batches, strict=False) for k, why in b.errors.items()},
        )
    assert [next(one, None) for one in passes] == [None] * world


@pytest.mark.parametrize("tier", ["resident", "memory", "stream"])
@pytest.mark.parametrize("kind", ["none", "all", "mixup", "together"])
def test_parts_of_all_ranks_are_the_batches_of_one_process(fakes, noise, kind, tier):
    sizes = SIDE if tier == "resident" else (9, 30)
    canvases = fakes.Canvases(noise(COUNT, sizes), uniform=tier == "resident", tier=tier)
    options = {"weights": np.linspace(0, 2, COUNT), "class_weights": np.linspace(0.5, 2, 7), "workers": 2}
    made = loader(canvases, *augments_of(fakes, kind), **options)
    assert made.tier == tier
    bounds = batch_bounds(COUNT, 12)  # six of 12 and one of 3: of that, four ranks have nothing but for the first
    for epoch in (2, None):
        expected = passed(made, bounds, epoch)
        for world in (1, 2, 3, 4):
            assert_equal(list(of_all_ranks(made, world, bounds, epoch)), expected)


def test_an_unreadable_picture_keeps_its_place_in_its_part(fakes, noise):
    canvases = fakes.Canvases(noise(COUNT, (9, 30)), unreadable=[int(ROWS[11]), int(ROWS[12]), int(ROWS[74])])
    for augments in ([], [fakes.Mix(7)]):
        made = loader(canvases, *augments, tolerate=True)
        expected = passed(made, epoch=1)
        assert [list(batch.errors) for batch in expected] == [[], [3, 4], *[[]] * 7, [2]]
        assert_equal(list(of_all_ranks(made, 3, BOUNDS, 1)), expected)


def test_a_part_cuts_no_picture_of_another_rank(fakes, noise):
    share = partial(part, rank=1, world_size=3)
    for augments, wanted in (([fakes.Crop(3)], 27), ([fakes.Mix(7)], COUNT)):  # mixed with those of others
        canvases, read = fakes.Canvases(noise(COUNT, (9, 30))), []
        canvases.get = lambda row, own=canvases, read=read: read.append(row) or own.arrays[row]
        batches = list(loader(canvases, *augments).batches(ROWS, BOUNDS, epoch=0, share=share))
        assert sum(len(batch.rows) for batch in batches) == 27
        assert len(read) == wanted
