import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clsfit.pipeline.room import room

SIDE, SHIFT = st.integers(1, 400), st.floats(-200, 200)


def one(extent, matrix, size):
    return room(np.array([extent]), np.array([matrix], dtype=float), size)[0].tolist()


def moved(x, y, scale=1.0):
    return [[scale, 0, x], [0, scale, y], [0, 0, 1]]


@pytest.mark.parametrize("mirror", [np.eye(3), np.diag([-1.0, 1, 1]), np.diag([2.0, 2, 2])])
def test_a_picture_that_was_not_moved_is_whole(mirror):
    assert one((224, 299), mirror, (224, 224)) == [224, 299]


def test_a_moved_window_has_the_nearer_side_to_move_over():
    assert one((100, 300), moved(50, 0), (100, 100)) == [100, 200]
    assert one((100, 300), moved(-50, 0), (100, 100)) == [100, 200]


def test_a_box_sees_the_picture_enlarged():
    assert one((100, 200), moved(0, 0, 0.5), (100, 100)) == [200, 400]


def test_black_that_was_chosen_counts_as_picture():
    assert one((32, 32), moved(4, 4), (32, 32)) == [32, 32]
    assert one((168, 224), moved(30, 0), (224, 224)) == [168, 224]


def test_a_perspective_leaves_the_window():
    assert one((300, 300), [[1, 0, 0], [0, 1, 0], [0.001, 0, 1]], (100, 100)) == [100, 100]
    assert one((300, 300), [[1, 0, 0], [0, 1, 0], [0, 0, 0]], (100, 100)) == [100, 100]


@settings(max_examples=200)
@given(
    extent=st.tuples(SIDE, SIDE),
    size=st.tuples(SIDE, SIDE),
    angle=st.floats(-180, 180),
    zoom=st.floats(0.01, 3),
    shift=st.tuples(SHIFT, SHIFT),
)
def test_its_corners_lie_inside_the_picture_or_the_window_was_kept(extent, size, angle, zoom, shift):
    c, s = zoom * np.cos(np.deg2rad(angle)), zoom * np.sin(np.deg2rad(angle))
    matrix = np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]])
    high, wide = one(extent, matrix, size)
    kept = [min(extent[0], size[0]), min(extent[1], size[1])]
    assert high >= kept[0]
    assert wide >= kept[1]
    reach = np.abs(matrix[:2, :2]) @ [wide / 2, high / 2] + np.abs(matrix[:2, 2])  # x, y of the farthest corner
    inside = reach <= np.array(extent[::-1]) / 2 + 1e-3
    if abs(s) * max(size) < 1e-6:
        assert all(inside | (np.array([wide, high]) == kept[::-1]))
    else:
        assert all(inside) or [high, wide] == kept
