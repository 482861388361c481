"""DATA that is a file which a plugin's data set opens: who gets it, and as what it is written down."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import make_dataclass, replace
from importlib.metadata import EntryPoint
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clsfit import Component, hookimpl
from clsfit.config import Config, Selection, resolve
from clsfit.data import archive, table_file, table_jsonl
from clsfit.endings import ARCHIVES, OWN, TABLES
from clsfit.errors import ConfigError, DataError
from clsfit.registry import BUNDLED, Plugins

_NUMBERS = count()

HOOKS = """
from dataclasses import dataclass
from typing import Annotated
from clsfit import Component, hookimpl

@dataclass
class Options:
    path: Annotated[str, "the file"]
    step: Annotated[int, "every so many"] = 1

@hookimpl
def clsfit_datasets():
    yield Component("{name}", "not_there:Data", "files", Options, endings={endings})
"""


@pytest.fixture
def install(plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plugins]:
    """``install(scans=(".scan",))``: the plugins with a stranger each that offers a data set for these endings."""
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("fake", "clsfit_config_fake", "clsfit")]

    def run(disable: Any = (), **endings: Any) -> Plugins:
        for name, each in endings.items():
            module = f"clsfit_ending_{name}_{next(_NUMBERS)}"  # a module is imported once per process
            (tmp_path / f"{module}.py").write_text(HOOKS.format(name=name, endings=each))
            points.append(EntryPoint(name, module, "clsfit"))
        return Plugins.discover(points=points, disable=disable)

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some files."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.scan", "b.SCAN", "c.deep.scan", "d.csv", "e.what", "f.tar.gz"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def of(plugins: Plugins, data: Any, *files: Path, **options: Any) -> Config:
    return resolve(plugins, files=files, environ={}, options={"data": data} | options)


def refused(kind: type[Exception], plugins: Plugins, data: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        of(plugins, data, **options)
    assert len(str(caught.value).splitlines()) <= 3
    return str(caught.value)


def test_a_file_of_an_offered_ending_is_the_data_set_with_that_path(
    install: Callable[..., Plugins], here: Path
) -> None:
    plugins = install(scans=(".scan",))
    for name in ("a.scan", "b.SCAN", "./a.scan"):
        config = of(plugins, name)
        assert config.tree()["data"] == {"name": "scans", "path": name, "step": 1}
        assert config.data_path == name
        assert of(plugins, {"name": "scans", "path": name}).tree() == config.tree()
        assert resolve(plugins, environ={"CLSFIT_DATA": name}).tree() == config.tree()
    (here / "run.yaml").write_text(of(plugins, "a.scan").to_yaml())
    assert resolve(plugins, files=[here / "run.yaml"], environ={}).tree() == of(plugins, "a.scan").tree()


def test_its_options_are_those_of_the_data_set(install: Callable[..., Plugins], here: Path) -> None:
    plugins = install(scans=(".scan",))
    assert of(plugins, {"name": "a.scan", "step": 3}).data_path == "a.scan"
    assert of(plugins, {"name": "a.scan", "step": 3}).tree()["data"]["step"] == 3
    (here / "base.yaml").write_text("data: {name: scans, path: gone.scan, step: 5}")
    assert of(plugins, "a.scan", here / "base.yaml").tree()["data"] == {"name": "scans", "path": "a.scan", "step": 5}
    text = refused(ConfigError, plugins, {"name": "a.scan", "path": "b.SCAN"})
    assert text.startswith("DATA is a file already: a.scan")


def test_the_longest_ending_opens(install: Callable[..., Plugins], here: Path) -> None:
    plugins = install(scans=(".scan",), deep=(".deep.scan",))
    assert [of(plugins, name).tree()["data"]["name"] for name in ("a.scan", "c.deep.scan")] == ["scans", "deep"]


def test_two_strangers_with_one_ending_are_both_named(install: Callable[..., Plugins], here: Path) -> None:
    plugins = install(scans=(".scan",), other=(".scan",))
    text = refused(ConfigError, plugins, "a.scan")
    assert text.startswith("two plugins open .scan files: other and scans")
    assert "say which one: other:other or scans:scans, with --data.path" in text
    assert of(plugins, {"name": "other", "path": "a.scan"}).data_path == "a.scan"
    (here / "base.yaml").write_text("data: a.scan")
    assert isinstance(of(plugins, "rings", here / "base.yaml").data, Selection)  # it is not there in the end


def test_a_bundled_data_set_wins(install: Callable[..., Plugins], here: Path) -> None:
    plugins = install(scans=(".scan",), other=(".scan",))
    for plugin in plugins.plugins:
        if plugin.name == "scans":
            plugin.distribution = BUNDLED
            plugin.offers = tuple(_bundled(offer) for offer in plugin.offers)
    assert of(plugins, "a.scan").tree()["data"]["name"] == "scans"


def _bundled(offer: Any) -> Any:
    return replace(offer, distribution=BUNDLED)


@pytest.mark.parametrize("name", ["d.csv", "f.tar.gz"])
def test_the_cores_own_endings_are_not_taken(install: Callable[..., Plugins], here: Path, name: str) -> None:
    plugins = install(scans=(".csv", ".gz", ".zip", ".scan"))
    assert of(plugins, name).data == name
    assert plugins.endings() == [".gz", ".scan"]  # the last, of files that are no .tar.gz


def test_a_folder_and_what_is_not_there_are_no_files(install: Callable[..., Plugins], here: Path) -> None:
    plugins = install(scans=(".scan",))
    (here / "folder.scan").mkdir()
    assert of(plugins, "folder.scan").data == "folder.scan"
    assert "no such folder" in refused(DataError, plugins, "gone.scan")


def test_a_file_that_nothing_opens(install: Callable[..., Plugins], here: Path) -> None:
    bare = refused(DataError, install(), "e.what")
    assert bare.startswith("DATA is neither a folder nor an archive nor a table of pictures\ne.what\n")
    assert bare.endswith("other files need a plugin that opens them")
    text = refused(DataError, install(scans=(".scan", ".csv"), more=(".more",)), "e.what")
    assert text.endswith("plugins open .more, .scan too")


def test_a_plugin_that_is_switched_off_or_broken_is_named(install: Callable[..., Plugins], here: Path) -> None:
    off = refused(DataError, install(disable=("scans",), scans=(".scan",)), "a.scan")
    assert off.splitlines()[1] == "a.scan; switched off: scans (scans)"
    broken = refused(DataError, install(disable=("scans",), worse=("scan",)), "a.scan")
    assert "plugin worse (worse) failed to load: dataset 'worse': endings are a tuple of texts" in broken


@pytest.mark.parametrize(
    ("kind", "component", "reason"),
    [
        ("datasets", {"endings": [".scan"]}, "endings are a tuple"),
        ("datasets", {"endings": (".SCAN",)}, "in lower case"),
        ("datasets", {"endings": ("scan",)}, "texts like '.csv'"),
        ("datasets", {"endings": (".",)}, "texts like '.csv'"),
        ("datasets", {"endings": (3,)}, "texts like '.csv'"),
        ("losses", {"endings": (".scan",)}, "only a data set has endings"),
        ("datasets", {"endings": (".scan",), "params": "empty"}, "has an option 'path'"),
    ],
)
def test_endings_that_could_not_be_asked_for_fail_the_plugin(
    kind: str, component: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if component.get("params"):
        component = component | {"params": make_dataclass("Empty", [])}
    module = ModuleType("clsfit_ending_module")
    setattr(module, f"clsfit_{kind}", _hook(f"clsfit_{kind}", component))
    monkeypatch.setitem(sys.modules, "clsfit_ending_module", module)
    (plugin,) = Plugins.discover(points=[EntryPoint("wrong", "clsfit_ending_module", "clsfit")]).plugins
    assert plugin.status == "failed"
    assert reason in plugin.error


def _hook(name: str, component: dict[str, Any]) -> Any:
    def hook() -> Any:
        yield Component("x", "not_there:x", "x", **component)

    hook.__name__ = name
    return hookimpl(hook)


def test_the_readers_take_what_is_listed() -> None:
    assert table_file.SUFFIXES == TABLES
    assert set(table_jsonl.SUFFIXES) <= set(TABLES)
    assert archive.SUFFIXES == ARCHIVES
    assert set(archive._FORMATS) <= set(ARCHIVES)
    assert (*TABLES, *ARCHIVES) == OWN
