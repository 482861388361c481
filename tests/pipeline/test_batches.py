import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsfit.errors import ConfigError
from clsfit.pipeline.batches import batch_bounds, part, runs, windows


@given(n=st.integers(0, 500), size=st.integers(1, 70))
def test_bounds_cover_every_sample_once_and_in_order(n, size):
    bounds = batch_bounds(n, size)
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(n))
    assert all(start < stop for start, stop in bounds)
    lengths = [stop - start for start, stop in bounds]
    assert all(length == size for length in lengths[:-1])
    assert not lengths or lengths[-1] <= size + 1


@given(n=st.integers(2, 500), size=st.integers(2, 70))
def test_no_batch_has_a_single_sample(n, size):
    assert min(stop - start for start, stop in batch_bounds(n, size)) > 1


def test_bounds_by_hand():
    assert batch_bounds(9, 4) == [(0, 4), (4, 9)]
    assert batch_bounds(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(1, 4) == [(0, 1)]
    assert batch_bounds(3, 1) == [(0, 1), (1, 2), (2, 3)]
    assert batch_bounds(0, 4) == []


@given(n=st.integers(0, 300), size=st.integers(1, 40), accumulate=st.integers(1, 9))
def test_windows_group_all_batches_and_count_their_samples(n, size, accumulate):
    bounds = batch_bounds(n, size)
    steps = windows(bounds, accumulate)
    assert [bound for group, _ in steps for bound in group] == bounds
    assert all(len(group) == accumulate for group, _ in steps[:-1])
    assert sum(samples for _, samples in steps) == n
    assert all(samples == group[-1][1] - group[0][0] for group, samples in steps)


@given(
    sizes=st.lists(st.integers(1, 50), max_size=30),
    gaps=st.lists(st.integers(0, 9), min_size=30),
    samples=st.integers(0, 120),
    batches=st.integers(1, 40),
)
def test_runs_are_as_long_as_they_may_be(sizes, gaps, samples, batches):
    bounds, start = [], 0
    for size, gap in zip(sizes, gaps, strict=False):
        bounds.append((start + gap, start + gap + size))
        start += gap + size
    found = [list(run) for run in runs(bounds, samples, batches)]
    assert [bound for run in found for bound in run] == bounds
    taken = [sum(stop - start for start, stop in run) for run in found]
    assert all(len(run) == 1 or (len(run) <= batches and own <= samples) for run, own in zip(found, taken, strict=True))
    for run, own, (first, *_) in zip(found, taken, found[1:], strict=False):
        assert len(run) == batches or own + first[1] - first[0] > samples


@given(start=st.integers(0, 1000), samples=st.integers(1, 300), world=st.integers(1, 40))
def test_parts_of_all_ranks_are_the_batch(start, samples, world):
    parts = [part((start, start + samples), rank, world) for rank in range(world)]
    some = [own for own in parts if own is not None]
    assert [i for first, last in some for i in range(first, last)] == list(range(start, start + samples))
    lengths = [last - first for first, last in some]
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) > 1 or samples == 1
    assert parts == some + [None] * (world - len(some))  # the last ranks have none
    assert len(some) == world or samples < 2 * world


def test_parts_by_hand():
    assert [part((4, 14), rank, 4) for rank in range(4)] == [(4, 6), (6, 9), (9, 11), (11, 14)]
    assert [part((4, 9), rank, 3) for rank in range(3)] == [(4, 6), (6, 9), None]
    assert [part((4, 5), rank, 2) for rank in range(2)] == [(4, 5), None]
    assert part((4, 9), 0, 1) == (4, 9)


@pytest.mark.parametrize("call", [lambda: batch_bounds(3, 0), lambda: windows([(0, 3)], 0)])
def test_numbers_below_one_are_refused(call):
    with pytest.raises(ConfigError):
        call()
