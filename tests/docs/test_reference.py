"""The reference says what the code says, and no link leads nowhere."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pluggy
import pytest

from clsfit import Component, hookimpl
from clsfit.config.layers import RESERVED, SLOTS
from clsfit.config.settings import NAMES, option_name
from clsfit.errors import ExitCode
from clsfit.hookspecs import OFFERS, PROJECT, Moments, Offers
from clsfit.parameters import added_parameters, own_parameters, parameters_of
from clsfit.registry import REPEATABLE, Plugins

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
HOOKS = [(owner, name) for owner in (Offers, Moments) for name in vars(owner) if not name.startswith("_")]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def text(page: str) -> str:
    return (REFERENCE / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    level = heading.split()[0]
    parts = re.split(rf"^{re.escape(heading)}\n", text(page), flags=re.M)
    assert len(parts) == 2, f"{page} has {len(parts) - 1} headings {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", parts[1], flags=re.M)[0]


def prose(path: Path) -> str:
    """A page without its code, in which brackets are no links."""
    without_blocks = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", "code", without_blocks)


def slugs(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", found, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def generate(*arguments: str, folder: Path = REFERENCE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "generate.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_generated_pages_are_as_the_code_says() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_shows_what_is_stale(tmp_path: Path) -> None:
    for name in ("generate.py", "docstrings.py"):
        (tmp_path / name).write_text((REFERENCE / name).read_text(encoding="utf-8"), encoding="utf-8")
    stale = text("formats.md").replace("| 6 | `DIVERGED` |", "| 66 | `DIVERGED` |")
    (tmp_path / "formats.md").write_text(stale, encoding="utf-8")
    done = generate("--check", folder=tmp_path)
    assert done.returncode == 1
    assert "-| 66 | `DIVERGED` |" in done.stdout
    assert (tmp_path / "formats.md").read_text(encoding="utf-8") == stale
    assert generate(folder=tmp_path).returncode == 0
    assert (tmp_path / "formats.md").read_text(encoding="utf-8") == text("formats.md")


@pytest.mark.parametrize(("owner", "name"), HOOKS)
def test_every_hook_is_documented_with_its_signature_and_an_example_that_works(owner: type, name: str) -> None:
    found = section("hooks.md", f"### {name}")
    arguments = [a for a in inspect.signature(getattr(owner, name)).parameters if a != "self"]
    shown = re.search(rf"^{name}\((.*)\) -> ", found, flags=re.M)
    assert shown is not None
    assert [part.split(":")[0].strip() for part in shown[1].split(",") if part] == arguments
    assert re.search(r"^Since \d+\.\d+\.$", found, flags=re.M)
    (example,) = re.findall(r"```python\n(@hookimpl\n.*?)```", found, flags=re.S)
    scope = {"Component": Component, "hookimpl": hookimpl}
    exec(compile(example, name, "exec"), scope)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(owner)
    holder = type("Holder", (), {name: scope[name] if owner is Moments else staticmethod(scope[name])})
    manager.register(holder())
    manager.check_pending()
    if owner is Offers:
        (offered,) = getattr(manager.hook, name)()
        assert all(isinstance(component, Component) for component in offered)


def test_every_contract_is_documented() -> None:
    from clsfit import contracts

    page = section("hooks.md", "## Contracts")
    for name, member in vars(contracts).items():
        if inspect.isclass(member) and member.__module__ == contracts.__name__:
            assert f"\n### {name}\n" in page
    for name in contracts.FILLED:
        assert f"\n| `{name}` |" in page


def test_every_bundled_component_has_a_row_and_each_of_its_options_one() -> None:
    plugins = Plugins.discover(bundled_only=True)
    for kind in OFFERS:
        for offer in plugins.offers(kind):
            own = () if kind == "recipe" else own_parameters(offer)
            name = f"[`{offer.name}`](#{kind}-{offer.name})" if own or kind == "recipe" else f"`{offer.name}`"
            assert f"| {name} | {offer.component.help.replace('<', chr(92) + '<')} | " in text("components.md")
            for parameter in own:
                prefix = f"{kind}.{offer.name}" if kind in REPEATABLE else kind
                assert f"| `--{prefix}.{parameter.name}` |" in section("components.md", f"### {kind} {offer.name}")
        for parameter in added_parameters(kind, ()):
            assert f"| `--{kind}.{parameter.name}` |" in section("components.md", f"## {kind}: `--{kind}`")


def test_every_option_that_is_a_number_says_its_range() -> None:
    plugins = Plugins.discover(bundled_only=True)
    for offer in (offer for kind in OFFERS if kind != "recipe" for offer in plugins.offers(kind)):
        for parameter in parameters_of(offer):
            if re.search("int|float", parameter.type_text):
                assert parameter.bounds, f"{offer.kind} {offer.name}: {parameter.name}"


def test_every_key_variable_and_exit_code_is_documented() -> None:
    page = text("configuration.md")
    for slot in SLOTS:
        assert f"| `{slot}` |" in page
    for name in NAMES:
        assert f"| `{name}`<br>`{option_name(name)}` |" in page
    assert {*RESERVED, "CLSFIT_NO_PLUGINS", "CLSFIT_DISABLE_PLUGINS"} <= set(
        re.findall(r"^\| `(CLSFIT_\w+)`", page, re.M)
    )
    codes = re.findall(r"^\| (\d+) \| `(\w+)` \|", section("formats.md", "## Exit codes"), flags=re.M)
    assert {name: int(code) for code, name in codes} == {code.name: int(code) for code in ExitCode}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(ROOT / page)):
        if target.startswith(("https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        assert not anchor or anchor in slugs(file), f"{page} links to {target}"


def test_every_page_is_in_the_index() -> None:
    linked = {
        (ROOT / "docs" / target.partition("#")[0]).resolve()
        for target in _LINK.findall(prose(ROOT / "docs" / "README.md"))
    }
    assert linked >= {(ROOT / page).resolve() for page in PAGES if page.parts[0] == "docs"} - {
        ROOT / "docs" / "README.md"
    }


def test_the_readme_gives_the_two_commands_on_lines_of_their_own() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert "python -m pip install . && clsfit train" in lines
    assert "python -m pip install -e '.[test]' && python -m pytest" in lines
