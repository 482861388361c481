"""What is installed with clsfit, and how its checks get what they need."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?((>=|<|==|~=)[0-9][0-9a-z.*]*,?)*")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def floor(project: dict[str, Any], name: str) -> tuple[int, ...]:
    """The lowest version that ``name`` may have."""
    found = next(text for text in project["dependencies"] if re.match(rf"{name}\b", text))
    text = re.search(r">=([0-9.]+)", found)
    assert text is not None, f"{found} has no lowest version"
    return tuple(map(int, text[1].split(".")))


def test_floors_lie_above_known_faults(project: dict[str, Any]) -> None:
    assert floor(project, "torch") >= (2, 10), "weights_only was bypassed, and wrote beyond its memory"
    assert floor(project, "pillow") >= (12, 3), "faults in the decoders"
    assert floor(project, "pyyaml") >= (6,), "loaders that make any object by default"


def test_every_requirement_comes_from_the_index(project: dict[str, Any]) -> None:
    extras = [text for texts in project.get("optional-dependencies", {}).values() for text in texts]
    for text in [*project["dependencies"], *extras]:
        assert REQUIREMENT.fullmatch(text), text
    assert not REQUIREMENT.fullmatch("evil @ https://example.org/evil.whl")
    assert not REQUIREMENT.fullmatch("git+https://example.org/evil")


PIPED = re.compile(r"(curl|wget)[^\n]*\|\s*(ba|z|da)?sh|\b(eval|source|\.)\s+[\"']?[$<]\(\s*(curl|wget)")


def test_no_script_runs_what_it_downloads() -> None:
    folder = ROOT / ".ci"
    assert [path.name for path in folder.iterdir() if PIPED.search(path.read_text())] == []
    assert PIPED.search("curl -sSf https://x | sh")
    assert PIPED.search("eval $(wget -qO- https://x)")
