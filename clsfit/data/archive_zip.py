"""Zip archives: what is in them, and how a member is read in place. Stored and deflated members."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from itertools import pairwise

from clsfit.data.archive_entry import CUT_SHORT, Entry, damaged, read_all_at, read_at
from clsfit.data.decode import PictureError
from clsfit.errors import DataError, printable

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED

_LOCAL = struct.Struct("<4s5H3L2H")  # the header before a member's bytes
_SLACK = 256  # bytes that the names in it nearly always fit into
_PIECE = 1 << 20  # bytes of a deflated member that are read at once, where more is needed than it declares
_FREE = 64 << 20  # bytes that a member may unpack to, whatever it has in the archive
_RATIO = 200  # of more bytes to those in the archive; deflating reaches 1032, of pictures only what is empty
_LARGEST = (1 << 63) - 1  # of a size that can stand in a table
_ENCRYPTED, _PATCH, _STRONG, _UTF8, _MASKED = 1, 1 << 5, 1 << 6, 1 << 11, 1 << 13  # flags


def entries(name: str, handle: int, size: int) -> list[Entry]:
    """The members, in the directory's order.

    Args:
        name: the archive, for messages.
        handle: of the archive.
        size: its bytes.

    Raises:
        DataError: the directory is not there or damaged, or two members have bytes in common.
        OSError: the archive cannot be read.
    """
    try:
        with open(handle, "rb", closefd=False) as file, zipfile.ZipFile(file) as opened:
            found = [_entry(info) for info in opened.infolist()]
            end = opened.start_dir
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error) as error:
        if read_at(handle, 2, 0) != b"PK":
            raise DataError("this is no zip archive", printable(name), "make one with zip, or a tar") from error
        raise damaged(name, f"its directory cannot be read ({printable(str(error))[:80]})") from error
    _refuse_overlap(name, found, min(end, size))
    return found


def read(handle: int, entry: Entry, length: int) -> bytes:
    """The first ``length`` bytes of a member, at most its size; of the whole member the checksum is compared.

    Raises:
        OSError: the archive cannot be read.
        PictureError: the member is damaged, is not as the directory says, or would unpack to far more than it is.
    """
    if entry.size > max(_FREE, _RATIO * entry.packed):
        raise PictureError(f"it would unpack to more than {_RATIO} times its bytes in the archive")
    wanted = min(length, entry.size)
    piece = min(entry.packed, wanted + _SLACK)  # deflating may add some bytes
    data = read_at(handle, _LOCAL.size + _SLACK + piece, entry.offset)
    if len(data) < _LOCAL.size:
        raise PictureError(CUT_SHORT)
    mark, _, flags, method, *_, name_length, extra_length = _LOCAL.unpack_from(data)
    if mark != b"PK\3\4" or method != entry.method or flags & (_ENCRYPTED | _STRONG):
        raise PictureError("the archive is damaged: its directory names another member")
    start = _LOCAL.size + name_length + extra_length
    packed = data[start : start + piece]
    if len(packed) < piece:  # longer names than usual
        packed = read_all_at(handle, piece, entry.offset + start)
    if entry.method == DEFLATED:
        packed = _inflated(handle, entry, packed, entry.offset + start, wanted)
    if wanted < entry.size:
        return packed[:wanted]
    if len(packed) != wanted or zlib.crc32(packed) != entry.crc:
        raise PictureError("its checksum is wrong: the archive is damaged")
    return packed


def _inflated(handle: int, entry: Entry, packed: bytes, start: int, wanted: int) -> bytes:
    """The first ``wanted`` bytes of a member, or one more where it has them: then it holds more than it declares.

    Args:
        handle: of the archive.
        entry: the member.
        packed: its first bytes as they lie in the archive, from ``start`` on.
        start: where.
        wanted: at most its size.
    """
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    most = wanted + 1
    pieces: list[bytes] = []
    done, used = 0, len(packed)
    try:
        while True:
            pieces.append(stream.decompress(packed, most - done))
            done += len(pieces[-1])
            if done >= most or stream.eof:
                return b"".join(pieces)
            packed = stream.unconsumed_tail
            if not packed:
                packed = read_at(handle, min(_PIECE, entry.packed - used), start + used)
                used += len(packed)
                if not packed:
                    raise PictureError("its compressed bytes are cut short")
    except zlib.error as error:
        raise PictureError("its compressed bytes are damaged") from error


def _entry(info: zipfile.ZipInfo) -> Entry:
    path = info.orig_filename
    if not info.flag_bits & _UTF8 and not path.isascii():
        path = _unmarked(path)
    kind = stat.S_IFMT(info.external_attr >> 16)
    folder = path.endswith("/")
    fault = ""
    if "\\" in path:
        fault = "a backslash in its path"
    elif stat.S_ISLNK(kind):
        fault = "a link"
    elif not folder and kind not in {0, stat.S_IFREG}:
        fault = "not a regular file"
    elif info.flag_bits & (_ENCRYPTED | _STRONG | _MASKED):
        fault = "encrypted"
    elif info.compress_type not in {STORED, DEFLATED} or info.flag_bits & _PATCH:
        fault = "neither stored nor deflated"
    elif info.compress_type == STORED and info.compress_size != info.file_size:
        fault = "of two sizes"
    return Entry(
        path,
        min(info.file_size, _LARGEST),
        info.header_offset,
        info.compress_size,
        info.compress_type,
        info.CRC,
        folder,
        fault,
    )


def _unmarked(path: str) -> str:
    """A name whose encoding is not told, read by :mod:`zipfile` as code page 437: UTF-8 where it can be that."""
    try:
        return path.encode("cp437").decode("utf-8")
    except UnicodeError:
        return path


def _refuse_overlap(name: str, found: list[Entry], end: int) -> None:
    """A small archive whose members share bytes can stand for endlessly many."""
    placed = sorted(found, key=lambda entry: entry.offset)
    bounds = [*((entry.offset, entry.packed, entry.path) for entry in placed), (end, 0, "")]
    if bounds[0][0] < 0:
        raise damaged(name, "a member lies before its beginning", bounds[0][2])
    for (offset, packed, path), (following, *_) in pairwise(bounds):
        if offset + _LOCAL.size + packed > following:
            raise damaged(name, "members overlap", path)
