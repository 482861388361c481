"""What clsfit reads as YAML, and that it reads what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from clsfit.config.yaml import dump, parse, parse_value, read_file
from clsfit.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("007", 7),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("0x10", "0x10"),
        ("'3'", "3"),
        ("[1, a]", [1, "a"]),
        ("{a: [b]}", {"a": ["b"]}),
        ("", ""),
        ("a: b: c", "a: b: c"),
        ("1" * 5000, "1" * 5000),
    ],
)
def test_words_mean_what_they_look_like(text: str, meant: Any) -> None:
    result = parse_value(text)
    assert result == meant
    assert type(result) is type(meant)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: 1\nb: [", 2, "no valid YAML"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is written twice"),
        ("a:\n  ? [1]\n  : 2\n", 2, "a key is a text"),
        ("x: 1\na: &x\n- *x\n", 2, "an alias that contains itself"),
        ("x: 1\ny: !!python/object/apply:os.system [x]\n", 2, "tag"),
        ("x: 1\ny: !mine 3\n", 2, "tag"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document in the stream but found another document"),
    ],
)
def test_errors_name_file_and_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse(text, "base.yaml")
    assert caught.value.where == f"base.yaml:{line}"


def test_every_value_knows_its_line() -> None:
    tree = parse("a: 1\nb:\n  c: 2\n  d: [3,\n    4]\n", "f").raw
    assert tree["a"].where == "f:1"
    assert tree["b"].raw["c"].where == "f:3"
    assert [v.where for v in tree["b"].raw["d"].raw] == ["f:4", "f:5"]


def test_brackets_without_end_are_an_error_not_a_crash() -> None:
    with pytest.raises(ConfigError, match="too deep"):
        parse("[" * 20_000 + "]" * 20_000, "base.yaml")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_file(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"data: caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_file(tmp_path / "latin.yaml")


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
words = st.sampled_from(
    ["no", "1e3", "~", "null", "1:2", "0x1", "<<", "=", "- a", "#", "a: b", "2024-01-01", "\ud800", "5."]
)
trees = st.recursive(
    scalars | words, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=4), t, max_size=3)
)


@given(st.dictionaries(st.text(max_size=6), trees, max_size=4))
def test_what_is_written_is_read_back(tree: dict[str, Any]) -> None:
    again = parse(dump(tree), "f").plain()
    assert again == tree
    assert repr(again) == repr(tree)  # 1, 1.0 and True are equal, but not the same


def test_other_yaml_readers_see_the_same_texts() -> None:
    tree = {"a": "no", "b": "1:30", "c": "1e-3", "d": 0.001, "e": 1e-5}
    assert pyyaml.safe_load(dump(tree)) == tree
