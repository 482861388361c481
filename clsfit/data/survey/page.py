"""A survey as a page: one HTML file that asks for nothing else, and shows the duplicates side by side."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence
from typing import Any

from PIL import Image

from clsfit.data.decode import PictureError
from clsfit.data.prepare import Prepare
from clsfit.data.survey import Survey, counts, report
from clsfit.data.survey.duplicates import Duplicate
from clsfit.data.table import SPLITS
from clsfit.errors import printable

_SIDE = 144  # pixels of a shown picture's longer side
_ENLARGED = 12  # times at most; so that pictures of a few pixels can be seen
_PAIRS = 300  # that are shown
_QUALITY = 80
_KINDS = "exact: the same bytes; near: encoded again, resized or mirrored"

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --text: #222; --ground: #fff; --line: #ddd; --mark: #b00020 }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #ddd; --ground: #17181b; --line: #444; --mark: #ff7b88 }}
}}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--text); background: var(--ground); overflow-wrap: break-word }}
ul {{ padding-left: 1.2rem }}
.texts td:first-child {{ min-width: 11rem }}
table {{ border-collapse: collapse }}
td, th {{ padding: .15rem 1.6rem .15rem 0; text-align: right; border-bottom: 1px solid var(--line) }}
td:first-child, th:first-child, .texts td {{ text-align: left; overflow-wrap: anywhere }}
.pair {{ display: flex; flex-wrap: wrap; gap: 1rem; border-top: 1px solid var(--line); padding: .8rem 0 }}
.pair p {{ flex-basis: 100%; margin: 0 }}
figure {{ margin: 0; flex: 0 1 20rem; min-width: 9rem }}
@media (max-width: 44rem) {{ figure {{ flex: 1 1 9rem }} }}
img {{ max-width: 100% }}
.enlarged {{ image-rendering: pixelated }}
figcaption {{ overflow-wrap: anywhere; font-size: 13px }}
b {{ color: var(--mark) }}
</style>
</head>
<body>
"""


def pieces(source: Any, found: Survey, name: str) -> Iterator[bytes]:
    """The page, piece by piece, UTF-8. Pictures are read again, as small JPEG data; all text is escaped.

    Args:
        source: the surveyed :class:`clsfit.contracts.Dataset`.
        found: its survey.
        name: what the data set is called.
    """
    title = _text(f"clsfit data check {name}")
    yield _HEAD.format(title=title).encode()
    yield f"<h1>{title}</h1>\n<p>{len(found.table):,} pictures</p>\n".encode()
    lines = "".join(f"<li>{_text(line)}</li>" for line in report.findings(found))
    yield f"<ul>{lines or f'<li>{report.NOTHING}</li>'}</ul>\n".encode()
    yield from _classes(found)
    yield from _unreadable(found)
    yield from _duplicates(source, found)
    yield b"</body>\n</html>\n"


def _classes(found: Survey) -> Iterator[bytes]:
    named = [split for split in SPLITS if split in found.splits]
    table = found.table.with_splits(found.splits)
    columns = [table.counts(split) for split in named]
    yield f"<h2>Classes</h2>\n<table>\n{_row(['class', 'pictures', *named], 'th')}".encode()
    for place, (label, number) in enumerate(counts(table).items()):
        yield _row([label, f"{number:,}", *(f"{column[place]:,}" for column in columns)]).encode()
    yield b"</table>\n"


def _unreadable(found: Survey) -> Iterator[bytes]:
    if found.unreadable:
        yield f'<h2>Unreadable: {len(found.unreadable):,}</h2>\n<table class="texts">\n'.encode()
        for row, why in found.unreadable.items():
            yield _row([found.table.paths[row], why]).encode()
        yield b"</table>\n"


def _duplicates(source: Any, found: Survey) -> Iterator[bytes]:
    """Pairs across splits and labels come first."""
    pairs = sorted(found.duplicates, key=lambda pair: (not (pair.across_splits or pair.across_labels), pair))
    if not pairs:
        return
    yield f"<h2>Duplicates: {_text(_counted(pairs))}</h2>\n<p>{_KINDS}</p>\n".encode()
    labels = found.table.labels()
    for pair in pairs[:_PAIRS]:
        marks = [
            text
            for text, is_so in (("in two splits", pair.across_splits), ("with two labels", pair.across_labels))
            if is_so
        ]
        yield f'<div class="pair"><p>{pair.kind} <b>{", ".join(marks)}</b></p>\n'.encode()
        for row in pair.rows:
            about = ", ".join(text for text in (labels[row], found.splits[row]) if text)
            caption = "<br>".join(_text(text) for text in (found.table.paths[row], about, _seen(found, row)) if text)
            yield f"<figure>{_image(source, row)}<figcaption>{caption}</figcaption></figure>\n".encode()
        yield b"</div>\n"
    if len(pairs) > _PAIRS:
        yield f"<p>and {len(pairs) - _PAIRS:,} more; all of them: clsfit data check --json</p>\n".encode()


def _seen(found: Survey, row: int) -> str:
    """Width x height, and the format of what is in a file."""
    look = found.looks[row]
    return f"{look['width']}x{look['height']} {look['format'].decode()}".rstrip()


def _counted(pairs: Sequence[Duplicate]) -> str:
    numbers = [
        (sum(pair.kind == "exact" for pair in pairs), "exact"),
        (sum(pair.kind == "near" for pair in pairs), "near"),
        (sum(pair.across_splits for pair in pairs), "in two splits"),
        (sum(pair.across_labels for pair in pairs), "with two labels"),
    ]
    return ", ".join(f"{number:,} {what}" for number, what in numbers)


def _image(source: Any, row: int) -> str:
    try:
        canvas = Prepare(3)(source.read(row))
    except (PictureError, OSError):  # it was there a moment ago
        return "<p>cannot be read</p>"
    image = Image.fromarray(canvas)
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    scale = max(1, min(_ENLARGED, _SIDE // max(image.size)))
    size = f'width="{image.width * scale}" height="{image.height * scale}"'
    kind = ' class="enlarged"' if scale > 1 else ""
    return f'<img alt=""{kind} {size} src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _row(cells: Sequence[str], tag: str = "td") -> str:
    return f"<tr>{''.join(f'<{tag}>{_text(cell)}</{tag}>' for cell in cells)}</tr>\n"


def _text(text: str) -> str:
    return html.escape(printable(text))
