"""How much picture there is around the window, once augmentations have moved it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

_SLACK = 1e-6  # pixels; a product that misses a whole number by its last bits is that number


def room(extents: Ints, matrices: npt.NDArray[np.float64], input_size: tuple[int, int]) -> Ints:
    """What the next augmentation may take for the whole picture.

    A centred box in pixels of the output, seen after ``matrices``, that lies inside the picture: the
    largest one where they keep its sides parallel to the picture's, else the largest one of the input's
    aspect. It is never smaller than what the window showed before: black that is there by choice, such as
    a border around a crop, counts as picture.

    Args:
        extents: [N, 2] int64, height and width of the whole pictures before.
        matrices: [N, 3, 3] float64, composed, as :class:`clsfit.contracts.Augment` says.
        input_size: (height, width).

    Returns:
        [N, 2] int64, height and width.
    """
    window = np.array(input_size, dtype=np.float64)
    last = matrices[:, 2, 2, None, None]
    flat = (matrices[:, 2, :2] == 0).all(1) & (last[:, 0, 0] != 0)
    maps = np.where(flat[:, None, None], matrices / np.where(last == 0, 1.0, last), np.eye(3))
    # Half sides from the moved centre to the nearer edge; matrices have x first, sizes have the height first.
    free = np.maximum(extents / 2 - np.abs(maps[:, (1, 0), 2]), 0)
    steps = np.abs(maps[:, (1, 0), :2][:, :, ::-1])  # [N, output axis of the picture, axis of the window]
    own = np.maximum(steps[:, (0, 1), (0, 1)], 1e-12)
    straight = (steps[:, 0, 1] * window[1] < _SLACK) & (steps[:, 1, 0] * window[0] < _SLACK)
    times = (free / np.maximum(steps @ (window / 2), 1e-12)).min(1)[:, None]
    found = np.where(straight[:, None], 2 * free / own, np.where(times >= 1, times * window, 0))
    found = np.where(flat[:, None], np.floor(np.minimum(found, 2**31) + _SLACK), 0)
    return np.maximum(found, np.minimum(extents, window)).astype(np.int64)
