"""Pictures cut in batches: the same bits from wherever they lie, one grey level from those cut one by one."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from clsfit_standard.augments import geometry, mixing

from clsfit import keyed
from clsfit.data.canvases import build
from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.pipeline import Augmentation, Finish, Loader, batch_bounds
from clsfit.pipeline.batches import part
from clsfit.pipeline.resident import Padded, Resident, why_not

COUNT, HIGH, WIDE = 70, 14, 11
TARGETS = np.arange(COUNT) % 7
ROWS = keyed.permutation(5, COUNT)
BOUNDS = batch_bounds(COUNT, 23)  # 23, 23, 24
CPU = torch.device("cpu")


def finish(resize="short", channels=3):
    return Finish((HIGH, WIDE), channels, resize, (0.45,), (0.25,))


def loader(canvases, *augments, resize="short", channels=3, **options):
    named = [(type(augment).__name__, augment) for augment in augments]
    made = Augmentation(named) if named else None
    options = {"device": "cpu", "form": "batch", "workers": 2, **options}
    return Loader(canvases, TARGETS, finish(resize, channels), augments=made, seed=9, **options)


def passed(made, epoch=2, bounds=BOUNDS, share=None):
    return list(made.batches(ROWS, bounds, epoch=epoch, share=share))


def assert_equal(left, right):
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a.images.cpu(), b.images.cpu())
        assert torch.equal(a.targets.cpu(), b.targets.cpu())
        assert np.array_equal(a.rows, b.rows)
        assert a.errors == b.errors


def levels_apart(left, right):
    """Of two passes of batches."""
    pairs = [(a.images, b.images) for a, b in zip(left, right, strict=True)]
    return max(((a - b).abs().max() * 0.25 * 255).round().int().item() for a, b in pairs)


@pytest.fixture
def no_room(monkeypatch):
    """On any device there is no room for resident pictures."""
    return lambda: monkeypatch.setattr("clsfit.pipeline.resident.most_bytes", lambda device: 0)


def chosen(fakes, kind):
    boxes, turn = geometry.RandomResizedCrop((0.1, 1.0)), geometry.Rotate(20.0)
    return {
        "none": [],
        "boxes": [boxes, geometry.HorizontalFlip(), fakes.Brighten()],
        "mixed": [boxes, geometry.HorizontalFlip(), fakes.Brighten(), mixing.MixUp(7, p=0.7)],
        "zoom": [fakes.Zoom(), fakes.HFlip(), fakes.Crop(40)],
        "some turned": [SometimesTurned(turn), boxes, geometry.HorizontalFlip()],
        "turned": [turn, fakes.Mix(7)],
        "always": [geometry.CenterCrop(0.7), geometry.HorizontalFlip()],
    }[kind]


KINDS = ["none", "boxes", "mixed", "zoom", "some turned", "turned", "always"]


class SometimesTurned:
    """Rotates every third sample, so that a batch has boxes and others."""

    def __init__(self, turn):
        self.turn = turn

    def draw(self, key, sizes):
        return {**self.turn.draw(key, sizes), "third": key.uniform(1)[:, 0] < 0.3}

    def matrix(self, parameters, input_size):
        matrix = self.turn.matrix({k: v for k, v in parameters.items() if k != "third"}, input_size)
        return np.where(parameters["third"][:, None, None], matrix, np.eye(3))


@pytest.mark.parametrize("resize", ["short", "stretch", "pad"])
@pytest.mark.parametrize("kind", KINDS)
def test_wherever_pictures_lie_batches_have_the_same_bits(fakes, noise, no_room, kind, resize):
    arrays = noise(COUNT, (9, 45))
    augments = chosen(fakes, kind)
    resident = [loader(fakes.Canvases(arrays, tier=tier), *augments, resize=resize) for tier in ("memory", "disk")]
    assert [made.tier for made in resident] == ["resident"] * 2
    no_room()
    sent = [
        loader(fakes.Canvases(arrays, tier=tier), *augments, resize=resize, workers=workers)
        for tier in ("memory", "disk", "stream")
        for workers in (0, 2)
    ]
    assert [made.tier for made in sent] == ["memory", "memory", "disk", "disk", "stream", "stream"]
    unknown = fakes.Canvases(arrays, tier="stream")
    unknown.sizes = np.ones_like(unknown.sizes)
    for epoch in (2, None):
        expected = passed(resident[0], epoch)
        for other in [*resident[1:], *sent, *([loader(unknown, *augments, resize=resize)] if epoch is None else [])]:
            assert_equal(passed(other, epoch), expected)


@pytest.mark.parametrize("resize", ["short", "stretch", "pad"])
@pytest.mark.parametrize("kind", ["none", "boxes", "zoom", "always"])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_grey_level_from_those_cut_one_by_one(fakes, noise, kind, resize, channels):
    canvases = fakes.Canvases(noise(COUNT, (9, 45), channels))
    options = {"resize": resize, "channels": channels}
    made = [loader(canvases, *chosen(fakes, kind), form=form, **options) for form in ("batch", "sample")]
    assert [one.tier for one in made] == ["resident", "memory"]
    for epoch in (2, None):
        assert levels_apart(passed(made[0], epoch), passed(made[1], epoch)) <= 1


@pytest.mark.parametrize("kind", ["turned", "some turned"])
def test_what_is_no_box_is_cut_as_one_by_one(fakes, noise, kind):
    canvases = fakes.Canvases(noise(COUNT, (9, 45)))
    made = [loader(canvases, *chosen(fakes, kind), form=form) for form in ("batch", "sample")]
    batches = [passed(one) for one in made]
    if kind == "turned":
        assert_equal(*batches)
    assert levels_apart(*batches) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_the_input_size_have_the_same_bits_wherever_they_lie(fakes, noise, no_room, kind):
    arrays = [array[:, :WIDE].copy() for array in noise(COUNT, HIGH)]
    one_block = loader(fakes.Canvases(arrays, uniform=True), *chosen(fakes, kind))
    single = loader(fakes.Canvases(arrays), *chosen(fakes, kind))
    assert (type(one_block._store), type(single._store)) == (Resident, Padded)
    no_room()
    sent = loader(fakes.Canvases(arrays, uniform=True), *chosen(fakes, kind))
    assert sent.tier == "memory"
    for epoch in (2, None):
        expected = passed(one_block, epoch)
        assert_equal(passed(single, epoch), expected)
        assert_equal(passed(sent, epoch), expected)


@pytest.mark.parametrize("cache", ["memory", "disk", "off"])
def test_real_canvases(fakes, noise, no_room, tmp_path, cache):
    arrays = noise(COUNT, (30, 60))
    expected = passed(loader(fakes.Canvases([fit(array, 20) for array in arrays]), *chosen(fakes, "mixed")))
    source = fakes.Source(arrays, TARGETS)
    canvases, bad = build(
        source, np.arange(COUNT), Prepare(3, 20), cache=cache, workers=2, skip_bad=False, cache_dir=tmp_path
    )
    assert not bad
    tiers = []
    for _ in range(2):
        made = loader(canvases, *chosen(fakes, "mixed"))
        tiers.append(made.tier)
        assert_equal(passed(made), expected)
        no_room()
    assert tiers == {"memory": ["resident", "memory"], "disk": ["resident", "disk"], "off": ["stream", "stream"]}[cache]


def fit(array, side):
    """The canvas of ``array``."""
    return Prepare(3, side)(array)


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.parametrize("kind", ["boxes", "mixed", "some turned"])
def test_later_bounds_and_ranks_parts_are_those_of_the_whole(fakes, noise, no_room, kind, room):
    if not room:
        no_room()
    made = loader(fakes.Canvases(noise(COUNT, (9, 45))), *chosen(fakes, kind))
    whole = passed(made)
    assert_equal(passed(made, bounds=BOUNDS[2:]), whole[2:])
    for rank in range(3):
        for found, batch, bounds in zip(
            passed(made, share=partial(part, rank=rank, world_size=3)), whole, BOUNDS, strict=True
        ):
            first, last = (edge - bounds[0] for edge in part(bounds, rank, 3))
            assert torch.equal(found.images, batch.images[first:last])
            assert torch.equal(found.targets, batch.targets[first:last])
            assert np.array_equal(found.rows, batch.rows[first:last])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("epoch", [2, None])
def test_an_unreadable_picture_is_black_and_named_if_tolerated(fakes, noise, workers, epoch):
    arrays = noise(COUNT, (9, 45))
    broken = [int(ROWS[20]), int(ROWS[25])]
    whole = passed(loader(fakes.Canvases(arrays, tier="stream"), *chosen(fakes, "always")), epoch)
    canvases = fakes.Canvases(arrays, tier="stream", unreadable=broken)
    batches = passed(loader(canvases, *chosen(fakes, "always"), workers=workers, tolerate=True), epoch)
    assert [batch.errors for batch in batches] == [{20: "a broken header"}, {2: "a broken header"}, {}]
    black = finish().normalise(torch.zeros(1, 3, HIGH, WIDE, dtype=torch.uint8))[0]
    assert torch.equal(batches[0].images[20], black)
    assert torch.equal(batches[1].images[2], black)
    assert torch.equal(batches[0].images[:20], whole[0].images[:20])
    with pytest.raises(PictureError, match="a broken header"):
        passed(loader(canvases, workers=workers), epoch)


def test_groups_of_a_batch_are_joined_in_order(fakes, noise, no_room, monkeypatch):
    canvases = fakes.Canvases(noise(COUNT, (9, 45)))
    expected = passed(loader(canvases, *chosen(fakes, "some turned")))
    no_room()
    for count in (1, 5, 23):
        monkeypatch.setattr("clsfit.pipeline.boxes._GROUP", count)
        assert_equal(passed(loader(canvases, *chosen(fakes, "some turned"))), expected)


def test_rows_without_a_canvas_take_no_room(fakes, noise):
    """Of a data set of which a part is judged, only that part was prepared."""
    arrays = noise(COUNT, (9, 45))
    arrays[7] = arrays[7][:1, :1]  # a canvas of one pixel is one
    there = np.arange(0, COUNT, 7)
    canvases, _ = build(
        fakes.Source(arrays, TARGETS), there, Prepare(3, None), cache="memory", workers=0, skip_bad=False
    )
    made = loader(canvases)
    assert canvases.sizes.max(0).tolist() == [39, 38]
    assert made._store.store.shape == (len(there), 3, 40, 40)
    whole = loader(fakes.Canvases(arrays))
    bounds = [(0, len(there))]
    assert_equal(list(made.batches(there, bounds)), list(whole.batches(there, bounds)))
    with pytest.raises(KeyError, match="8"):
        list(made.batches(np.array([7, 8]), [(0, 2)]))


def test_wrong_channels_are_not_broadcast(fakes, noise, no_room):
    canvases = fakes.Canvases(noise(COUNT, (9, 45), channels=1))
    with pytest.raises(ValueError, match="a canvas has 1 channels, the input 3"):
        loader(canvases)
    no_room()
    with pytest.raises(ValueError, match="a canvas has 1 channels, the input 3"):
        passed(loader(canvases))


def test_what_is_resident_follows_from_the_form_and_the_room(fakes, noise, monkeypatch):
    canvases = fakes.Canvases(noise(COUNT, (9, 45)))
    assert why_not(canvases, finish(), CPU) == "they are not in memory, or not of one size"
    assert why_not(canvases, finish(), CPU, "batch") == ""
    canvases.tier = "stream"
    assert why_not(canvases, finish(), CPU, "batch") == "they are decoded when needed"
    canvases.tier = "disk"
    taken = COUNT * 3 * 44 * 44  # the largest is 44 x 44
    assert canvases.sizes.max(0).tolist() == [44, 44]
    for room, why in ((taken, ""), (taken - 1, "the pictures would take too much of the device's memory")):
        monkeypatch.setattr("clsfit.pipeline.resident.most_bytes", lambda device, room=room: room)
        assert why_not(canvases, finish(), CPU, "batch") == why
    few = noise(COUNT - 1, 20)
    for side, why in ((72, ""), (100, "a few are so large that the others would be mostly padding")):
        canvases = fakes.Canvases([*few, noise(1, 100)[0][:side, :20]])
        assert why_not(canvases, finish(), CPU, "batch") == why


def test_a_gpu_has_the_form_batch_and_other_devices_have_not(monkeypatch):
    from clsfit.pipeline.resident import form_of, most_bytes

    forms = {name: form_of(torch.device(name)) for name in ("cuda", "cuda:1", "cpu", "mps")}
    assert forms == {"cuda": "batch", "cuda:1": "batch", "cpu": "sample", "mps": "sample"}
    memory = SimpleNamespace(total_memory=1000)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    assert most_bytes(torch.device("cuda")) == 400


def test_describe_says_the_tier_and_the_form(fakes, noise, no_room):
    canvases = fakes.Canvases(noise(COUNT, (9, 45)), tier="disk", decoded_by="2 processes (fork)")
    resident = loader(canvases).describe()
    mib = COUNT * 3 * 44 * 44 / 2**20
    assert resident == (
        f"70 pictures of up to 44x44, {mib:.1f} MiB, resident on cpu, decoded by 2 processes (fork), "
        "cut in batches on cpu"
    )
    no_room()
    assert loader(canvases, workers=0).describe() == (
        "disk (the test says so), decoded by 2 processes (fork), no threads, cut in batches on cpu; "
        "not resident: the pictures would take too much of the device's memory"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["highest", "high"])  # without TF32, with it
@pytest.mark.parametrize("kind", ["none", "boxes", "zoom", "some turned", "always"])
def test_cuda_gives_the_bits_of_the_cpu(fakes, noise, no_room, request, kind, precision):
    """Without a wait for the device, once a pass was made."""
    request.addfinalizer(partial(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision()))
    torch.set_float32_matmul_precision(precision)
    arrays = noise(COUNT, (60, 300))
    for tier, where in (("disk", "resident"), ("disk", "disk"), ("stream", "stream")):
        if where != "resident":
            no_room()
        canvases = fakes.Canvases(arrays, tier=tier)
        made = loader(canvases, *chosen(fakes, kind), device="cuda", form=None)
        assert made.tier == where
        for epoch in (2, None):
            expected = passed(loader(canvases, *chosen(fakes, kind)), epoch)
            passed(made, epoch)  # loads kernels, and has pinned memory to use again
            torch.cuda.set_sync_debug_mode("error")
            try:
                found = passed(made, epoch)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert_equal(found, expected)
