"""Tar archives: what is in them, and where. Of the formats ustar, GNU and pax, without compression.

The headers are read here and not by :mod:`tarfile`, which takes a damaged header behind the first for the
archive's end, and long names of any length.
"""

from __future__ import annotations

import re

from clsfit.data.archive_entry import CUT_SHORT, Entry, compressed, damaged, read_all_at, read_at
from clsfit.errors import DataError, printable

BLOCK = 512
"""Bytes of a header; members fill whole blocks."""

_LONGEST_EXTENDED = 1 << 20  # bytes of a header that holds what does not fit into a block
_TAIL = 1 << 20  # bytes behind the end that are looked at
_FILES, _FOLDERS, _LINKS, _DEVICES = b"0\0007", b"5D", b"12", b"346"
_NAME, _LINK_NAME, _PAX, _PAX_FOR_ALL, _LABEL = b"L", b"K", b"xX", b"g", b"V"
_WITHOUT_DATA = b"512346V"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x9d", b"LZIP", b"\x04\x22\x4d\x18")
_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")


def entries(name: str, handle: int, size: int) -> list[Entry]:
    """The members, in the archive's order.

    Args:
        name: the archive, for messages.
        handle: of the archive.
        size: its bytes.

    Raises:
        DataError: the list is damaged or cut short, or holds what cannot be read in place.
        OSError: the archive cannot be read.
    """
    found: list[Entry] = []
    at, extended = 0, _Extended(name)
    while True:
        block = read_at(handle, BLOCK, at)
        if at == 0:
            _refuse_other(name, block)
        if len(block) < BLOCK:
            raise damaged(name, "it has no end", f"what follows {found[-1].path}" if found else "")
        if not block.strip(b"\0"):
            break
        kind, path, length = _header(name, block, found)
        at += BLOCK
        if kind in _NAME + _LINK_NAME + _PAX + _PAX_FOR_ALL:
            if length > _LONGEST_EXTENDED:
                raise damaged(name, "a header is too long", path)
            extended.take(kind, read_at(handle, length, at))
            at += _whole(length)
            continue
        path, length = extended.path or path, length if extended.size is None else extended.size
        extended.forget()
        stored = 0 if kind in _WITHOUT_DATA else length
        if at + stored > size:
            raise damaged(name, CUT_SHORT, path)
        if kind != _LABEL:
            found.append(_entry(name, kind, path, length, at))
        at += _whole(stored)
    if read_at(handle, _TAIL, at).strip(b"\0"):
        raise damaged(name, "something follows its end; archives joined by cat are read up to the first's end only")
    return found


def read(handle: int, entry: Entry, length: int) -> bytes:
    """The first ``length`` bytes of a member, at most its size.

    Raises:
        OSError: the archive cannot be read.
        PictureError: the archive ends before.
    """
    return read_all_at(handle, min(length, entry.size), entry.offset)


class _Extended:
    """What headers say of the member that follows, and a global one of all."""

    def __init__(self, name: str) -> None:
        self._name, self._for_all = name, ""
        self.path = ""
        self.size: int | None = None

    def forget(self) -> None:
        """The member has followed."""
        self.path, self.size = self._for_all, None

    def take(self, kind: bytes, data: bytes) -> None:
        """Takes a header's ``data``.

        Raises:
            DataError: it is damaged, or says that the member is sparse.
        """
        if kind in _NAME:
            self.path = _text(data)
        if kind not in _PAX + _PAX_FOR_ALL:
            return
        at = 0
        while at < len(data) and (record := _RECORD.match(data, at)):
            end = at + int(record[1])
            if end <= record.end() or end > len(data) or data[end - 1 : end] != b"\n":
                raise damaged(self._name, "a pax header cannot be read")
            self._put(kind, record[2], data[record.end() : end - 1])
            at = end
        if data[at:].strip(b"\0"):
            raise damaged(self._name, "a pax header cannot be read")

    def _put(self, kind: bytes, key: bytes, value: bytes) -> None:
        if key == b"path":
            self.path = value.decode("utf-8", "surrogateescape")  # a NUL, which no name can have, is found later
            self._for_all = self.path if kind == _PAX_FOR_ALL else self._for_all
        elif key == b"size":
            if not value.isdigit() or len(value) > 19 or kind == _PAX_FOR_ALL:
                raise damaged(self._name, "a pax header cannot be read")
            self.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            raise _not_in_place(self._name, "a sparse file")


def _header(name: str, block: bytes, found: list[Entry]) -> tuple[bytes, str, int]:
    """Kind, path and size in a header."""
    size = _number(block[124:136])
    if not _is_header(block) or size is None:
        raise damaged(name, "a header cannot be read", f"what follows {found[-1].path}" if found else "")
    path, kind = _text(block[:100]), block[156:157]
    if block[257:263] == b"ustar\0" and (above := _text(block[345:500])):
        path = f"{above}/{path}"
    return (b"5" if kind in b"\0" and path.endswith("/") else kind), path, size


def _is_header(block: bytes) -> bool:
    return sum(block) - sum(block[148:156]) + 8 * 0x20 == _number(block[148:156])


def _refuse_other(name: str, block: bytes) -> None:
    """Refuses what does not begin as a tar archive does."""
    if len(block) == BLOCK and (_is_header(block) or not block.strip(b"\0")):
        return
    if block.startswith(_COMPRESSED):
        raise compressed(name)
    raise DataError("this is no tar archive", printable(name), "make one with tar, uncompressed, or a zip")


def _entry(name: str, kind: bytes, path: str, size: int, at: int) -> Entry:
    if kind in b"SM":
        raise _not_in_place(name, "a sparse file" if kind == b"S" else "a part of a file", path)
    fault = ""
    if kind in _LINKS:
        fault = "a link"
    elif kind in _DEVICES:
        fault = "not a regular file"
    elif kind not in _FILES + _FOLDERS:
        fault = "of an unknown kind"
    return Entry(path, size, at, size, folder=kind in _FOLDERS, fault=fault)


def _not_in_place(name: str, what: str, path: str = "") -> DataError:
    where = f"{printable(name)}: {printable(path)}" if path else printable(name)
    return DataError(f"the archive holds {what}", where, "make it anew without --sparse and --multi-volume")


def _number(field: bytes) -> int | None:
    """A header's number, not negative: octal digits, or in base 256 if the first bit says so; None if it is none."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip() or b"0"
    try:
        return int(digits, 8) if digits.isdigit() else None
    except ValueError:  # 8 or 9
        return None


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _whole(length: int) -> int:
    """The bytes of whole blocks that ``length`` bytes fill."""
    return -(-length // BLOCK) * BLOCK
