"""Small JPEG files of the plainest kind, without Pillow's parser: the same pixels in half of the time.

Pillow reads a header marker by marker in Python, which takes longer than decoding a small picture. Here the
markers are only stepped over, and Pillow's decoder is given the file at once. Whatever is not plain in every
respect (a note about the camera, a colour profile, anything damaged) is left to Pillow, so that it has one
result and one message.
"""

from __future__ import annotations

from PIL import Image

MAX_BYTES = 1 << 16
"""Of a larger file the header takes no share worth saving; up to here Pillow decodes it in one piece too."""

_MAX_PIXELS = 1 << 20
_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
_FRAME = frozenset({0xC0, 0xC2})  # baseline, progressive
_SKIPPED = frozenset({0xC4, 0xDD, 0xFE})  # Huffman tables, restart interval, comment
_TABLES, _SCAN = 0xDB, 0xDA
_MODES = {1: "L", 3: "RGB"}


def frame(data: bytes) -> tuple[int, int, str] | None:
    """(height, width, mode) of a plain JPEG file, or of its beginning; None where it is none, or not small.

    A file in which this finds no fault may still be damaged behind its header.
    """
    if not data.startswith(_START):
        return None
    at, end, found = 20, len(data), None
    while at + 4 <= end and data[at] == 0xFF:
        marker, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        after = at + 2 + length
        if length < 2 or after > end:
            return None
        if marker == _SCAN:
            return found
        if marker == _TABLES:
            if not _has_tables(data, at + 4, after):
                return None
        elif marker in _FRAME and found is None:
            found = _frame(data, at + 4, length)
            if found is None:
                return None
        elif marker not in _SKIPPED:
            return None
        at = after
    return None


def pixels(data: bytes) -> Image.Image | None:
    """The picture in a small, plain and whole JPEG file, mode "L" or "RGB"; None for any other."""
    header = frame(data) if len(data) <= MAX_BYTES else None
    if header is None:
        return None
    height, width, mode = header
    try:
        return Image.frombytes(mode, (width, height), data, "jpeg", mode, "")
    except (ValueError, OSError):  # torn or damaged: Pillow's own reader says how
        return None


def _frame(data: bytes, start: int, length: int) -> tuple[int, int, str] | None:
    bits, height, width, layers = (
        data[start],
        data[start + 1] << 8 | data[start + 2],
        data[start + 3] << 8 | data[start + 4],
        data[start + 5],
    )
    mode = _MODES.get(layers)
    if mode is None or bits != 8 or length != 8 + 3 * layers or not 0 < height * width <= _MAX_PIXELS:
        return None
    return height, width, mode


def _has_tables(data: bytes, start: int, stop: int) -> bool:
    """Whether there are tables of 8 bits and nothing else."""
    return (stop - start) % 65 == 0 and all(data[place] < 16 for place in range(start, stop, 65))
