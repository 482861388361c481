"""The docstrings of clsfit as Markdown: what :mod:`generate` needs of reStructuredText, and no more."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns):")
_ENTRY = re.compile(r"([\w, *]+?): (.*)", re.S)
_ROLE = re.compile(r":\w+:`[~.]?([^`]+)`")
_RULE = re.compile(r"=+( +=+)+")


def markdown(doc: str) -> str:
    """A cleaned docstring as Markdown: literals, ``::`` blocks, simple tables, ``Args:`` lists."""
    return "\n\n".join(_render(_blocks(doc)))


def cell(text: str) -> str:
    """``text`` in a cell of a table, on one line."""
    return " ".join(inline(text).split()).replace("|", "\\|")


def inline(text: str) -> str:
    """Literals and roles as code; angle brackets and asterisks elsewhere as themselves."""
    text = _ROLE.sub(r"``\1``", text)
    parts = re.split(r"(``.+?``)", text, flags=re.S)
    return "".join(part[1:-1] if part.startswith("``") else re.sub(r"([<*])", r"\\\1", part) for part in parts)


def _blocks(doc: str) -> list[str]:
    """Paragraphs and indented blocks, in order."""
    return [block for block in re.split(r"\n\s*\n(?=\S)|\n\s*\n(?=\s+\S)", doc.strip("\n")) if block.strip()]


def _render(blocks: list[str]) -> Iterator[str]:
    code: list[str] = []
    literal = False
    for block in blocks:
        if literal and block.startswith(" "):
            code.append(block)
            continue
        if code:
            yield _fence(code)
            code, literal = [], False
        first, _, rest = block.partition("\n")
        if _SECTION.fullmatch(first):
            yield f"{first}\n\n{_entries(rest)}"
        elif _RULE.fullmatch(first):
            yield _table(block)
        else:
            literal = block.endswith("::")
            text = inline(block[:-1] if literal else block)
            yield text
    if code:
        yield _fence(code)


def _fence(code: list[str]) -> str:
    text = textwrap.dedent("\n\n".join(code))
    language = "toml" if text.startswith("# pyproject.toml") else "python"
    return f"```{language}\n{text}\n```"


def _entries(section: str) -> str:
    """``name: text`` entries, with deeper continuation lines, as a list."""
    entries = re.split(r"\n(?=\S)", textwrap.dedent(section))
    lines = []
    for entry in entries:
        found = _ENTRY.fullmatch(entry)
        text = f"`{found[1]}`: {inline(found[2])}" if found else inline(entry)
        lines.append("- " + " ".join(text.split()))
    return "\n".join(lines)


def _table(block: str) -> str:
    """A simple table of two columns, without a head of its own."""
    rows = [re.split(r" {2,}", line.strip(), maxsplit=1) for line in block.splitlines() if not _RULE.fullmatch(line)]
    lines = [["name", "what it is"], ["---", "---"], *([inline(part) for part in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
