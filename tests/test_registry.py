"""Discovery with real metadata on ``sys.path``: isolation, clashes, off-switches, names."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from clsfit.errors import ConfigError, ExitCode, InterruptedRunError, PluginError
from clsfit.registry import Plugins

Install = Callable[..., None]

GOOD = """
from clsfit import Component, hookimpl

@hookimpl
def clsfit_losses():
    yield Component({name!r}, {target!r}, "a loss")
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """``install("clsfit-x", code)`` puts a distribution with one entry point on an otherwise empty path."""
    site = tmp_path / "site"
    site.mkdir()
    # other plugins of this environment are not part of these tests
    plain = [path for path in sys.path if not any(Path(path or ".").glob("*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(site), *plain])

    def make(distribution: str, code: str, *, point: str = "", version: str = "1.2") -> None:
        module = f"plugin_{distribution.replace('-', '_')}_{tmp_path.name.replace('-', '_')}"
        (site / f"{module}.py").write_text(textwrap.dedent(code))
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[clsfit]\n{point or distribution} = {module}\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return make


def good(name: str = "huber", target: str = "math:sqrt") -> str:
    return GOOD.format(name=name, target=target)


def strangers(plugins: Plugins) -> dict[str, tuple[str, str]]:
    return {p.distribution: (p.status, p.error) for p in plugins.plugins if p.distribution != "clsfit"}


def test_a_good_plugin_is_listed_with_its_origin(install: Install) -> None:
    install("clsfit-huber", good(), point="huber", version="0.3")
    offer = Plugins.discover().find("loss", "huber")
    assert (offer.plugin, offer.distribution, offer.version) == ("huber", "clsfit-huber", "0.3")
    assert offer.qualified == "clsfit-huber:huber"
    assert offer.load()(4.0) == 2.0


BROKEN = {
    "import": ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    "exit": ("import sys; sys.exit('no licence')", "it called sys.exit('no licence')"),
    "syntax": ("def (", "SyntaxError"),
    "misspelt": (good().replace("clsfit_losses", "clsfit_loses"), "did you mean 'clsfit_losses'?"),
    "moment": (good().replace("def clsfit_losses():", "def on_fit_start(run):"), "belongs into a callback"),
    "raises": (good() + "    raise KeyError('later')", "KeyError: 'later'"),
    "argument": (good().replace("clsfit_losses()", "clsfit_losses(config)"), "config"),
    "unmarked": (good().replace("@hookimpl", ""), "clsfit_losses lacks @hookimpl"),
    "returns": (good().replace("yield", "return"), "it returned a Component"),
    "text": (good() + "    yield 'focal'", "it yielded a str"),
    "twice": (good() + "    yield Component('huber', 'math:sqrt', 'again')", "offers 'huber' twice"),
    "name": (good(name="two words"), "a name consists of"),
    "none": (good(name="none"), "cannot be written in a configuration"),
    "target": (good(target="math"), "the target is 'package.module:name'"),
    "params": (good().replace('"a loss"', '"a loss", params=int'), "params must be a dataclass"),
    "help": (good().replace('"a loss"', "None"), "help is a text"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_one_line_and_the_rest_goes_on(install: Install, case: str) -> None:
    code, reason = BROKEN[case]
    install("clsfit-bad", code, point="bad", version="0.1")
    install("clsfit-huber", good())
    plugins = Plugins.discover()
    status, error = strangers(plugins)["clsfit-bad"]
    assert status == "failed"
    assert reason in error
    [line] = plugins.warnings()
    assert line.startswith("plugin bad (clsfit-bad 0.1) failed to load: ")
    assert "\n" not in line
    assert plugins.names("loss") == ["huber"]


def test_a_plugin_that_prints_at_import_leaves_stdout_alone(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("clsfit-loud", "print('hello')\n" + good())
    Plugins.discover()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "hello\n"


def test_an_interrupt_is_no_plugin_failure(install: Install) -> None:
    install("clsfit-bad", "raise KeyboardInterrupt")
    with pytest.raises(InterruptedRunError, match="--disable-plugin"):
        Plugins.discover()


@pytest.mark.parametrize("name", ["off", "clsfit-off", "clsfit_Off"])
def test_a_disabled_plugin_is_never_imported(install: Install, name: str) -> None:
    install("clsfit-off", "raise SystemExit", point="off")
    plugins = Plugins.discover(disable=[name])
    assert strangers(plugins) == {"clsfit-off": ("disabled", "")}
    with pytest.raises(ConfigError, match="switched off"):
        plugins.find("loss", "clsfit-off:huber")


def test_disabling_what_is_not_there_is_an_error(install: Install) -> None:
    install("clsfit-huber", good())
    with pytest.raises(ConfigError, match=r"(?s)'clsfit-hubert'.*Did you mean 'clsfit-huber'"):
        Plugins.discover(disable=["clsfit-hubert"])


def test_bundled_only_imports_no_stranger(install: Install) -> None:
    install("clsfit-off", "raise SystemExit")
    install("clsfit", good("focal"), point="standard")
    plugins = Plugins.discover(bundled_only=True)
    assert strangers(plugins)["clsfit-off"] == ("disabled", "")
    assert plugins.names("loss") == ["focal"]


def test_only_the_named_entry_points_are_looked_at(install: Install) -> None:
    install("clsfit-huber", good(), point="huber")
    install("clsfit-bad", "raise SystemExit")
    assert [p.name for p in Plugins.discover(only={"huber"}).plugins] == ["huber"]


def test_a_bundled_name_wins_and_the_namesake_stays_reachable(install: Install) -> None:
    install("clsfit", good("focal"), point="standard", version="0.1")
    install("clsfit-x", good("focal"), point="x")
    plugins = Plugins.discover()
    assert plugins.find("loss", "focal").distribution == "clsfit"
    for prefix in ("clsfit-x", "x", "clsfit_x"):
        assert plugins.find("loss", f"{prefix}:focal").distribution == "clsfit-x"
    assert [(o.distribution, o.shadowed) for o in plugins.offers("loss")] == [("clsfit", False), ("clsfit-x", True)]
    assert plugins.names("loss") == ["focal"]
    assert [plugins.short_name(o) for o in plugins.offers("loss")] == ["focal", "clsfit-x:focal"]


def test_without_the_bundled_plugin_its_names_are_free(install: Install) -> None:
    install("clsfit", good("focal"), point="standard")
    install("clsfit-x", good("focal"))
    plugins = Plugins.discover(disable=["standard"])
    assert plugins.find("loss", "focal").distribution == "clsfit-x"


def test_two_strangers_with_one_name_clash_when_it_is_asked_for(install: Install) -> None:
    install("clsfit-a", good(), version="1")
    install("clsfit-b", good(), version="2")
    plugins = Plugins.discover()
    assert plugins.names("loss") == []
    with pytest.raises(ConfigError, match=r"(?s)clsfit-a 1 and clsfit-b 2.*clsfit-a:huber or clsfit-b:huber"):
        plugins.find("loss", "huber")
    assert plugins.find("loss", "clsfit-b:huber").version == "2"


def test_two_entry_points_of_one_name_need_the_distribution(install: Install) -> None:
    install("clsfit-a", good(), point="same")
    install("clsfit-b", good(), point="same")
    with pytest.raises(ConfigError, match=r"clsfit-a.*clsfit-b"):
        Plugins.discover().find("loss", "same:huber")


def test_an_unknown_name_tells_the_nearest_and_who_failed(install: Install) -> None:
    install("clsfit-huber", good())
    install("clsfit-bad", "import not_there_at_all", version="0.7")
    with pytest.raises(ConfigError) as caught:
        Plugins.discover().find("loss", "hubr")
    assert caught.value.exit_code == ExitCode.USAGE
    what, where, remedy = str(caught.value).splitlines()
    assert what == "unknown loss 'hubr'"
    assert "clsfit-bad 0.7" in where
    assert "not_there_at_all" in where
    assert remedy == "Did you mean 'huber'?"


def test_a_known_provider_that_cannot_deliver_is_exit_8(install: Install) -> None:
    install("clsfit-bad", "import not_there_at_all", version="0.7")
    plugins = Plugins.discover()
    with pytest.raises(PluginError, match=r"(?s)clsfit-bad 0.7.*not_there_at_all"):
        plugins.find("loss", "clsfit-bad:huber")
    with pytest.raises(PluginError, match="no plugin 'clsfit-absent' is installed"):
        plugins.find("loss", "clsfit-absent:huber")


def test_a_provider_without_the_name_is_a_usage_error(install: Install) -> None:
    install("clsfit-huber", good())
    with pytest.raises(ConfigError, match=r"(?s)offers no loss 'huberr'.*Did you mean 'huber'"):
        Plugins.discover().find("loss", "clsfit-huber:huberr")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("not_there_at_all:Loss", "No module named 'not_there_at_all'"),
        ("math:Loss", "has no attribute 'Loss'"),
        ("math:pi", "not callable"),
    ],
)
def test_a_target_that_cannot_be_loaded_is_exit_8(install: Install, target: str, reason: str) -> None:
    install("clsfit-huber", good(target=target), version="0.3")
    offer = Plugins.discover().find("loss", "huber")
    with pytest.raises(PluginError) as caught:
        offer.load()
    assert caught.value.exit_code == ExitCode.PLUGIN
    assert reason in str(caught.value)
    assert "clsfit-huber 0.3" in str(caught.value)


def test_a_target_that_calls_exit_does_not_end_the_process(install: Install, tmp_path: Path) -> None:
    (tmp_path / "site" / "leaves_at_once.py").write_text("import sys; sys.exit(0)")
    install("clsfit-huber", good(target="leaves_at_once:Loss"))
    with pytest.raises(PluginError, match=r"sys.exit"):
        Plugins.discover().find("loss", "huber").load()


def test_a_recipe_that_is_not_in_its_package_is_exit_8(install: Install) -> None:
    code = good().replace("clsfit_losses", "clsfit_recipes").replace("math:sqrt", "email:recipes/none.yaml")
    install("clsfit-huber", code)
    offer = Plugins.discover().find("recipe", "huber")
    with pytest.raises(PluginError, match=r"none\.yaml"):
        offer.resource()


def test_entry_points_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "given_plugin.py").write_text(good())
    monkeypatch.syspath_prepend(tmp_path)
    plugins = Plugins.discover(points=[EntryPoint("mine", "given_plugin", "clsfit")])
    assert [(p.name, p.distribution, p.status) for p in plugins.plugins] == [("mine", "mine", "ok")]
