"""Writes the generated parts of this folder's pages, or checks that they are as the code says.

    python docs/reference/generate.py            write
    python docs/reference/generate.py --check    exit code 1 and a diff where a page is stale

A page is Markdown with generated blocks between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``;
everything around them is written by hand. ``BLOCKS`` says where each block comes from.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).parent))

import docstrings

from clsfit import contracts, errors, hookspecs
from clsfit.cli.options import text_of
from clsfit.config.layers import SINGLE, SLOTS
from clsfit.config.settings import AUTO, option_name
from clsfit.config.settings import parameters as settings
from clsfit.config.tree import FREE_SETTINGS
from clsfit.parameters import Parameter, added_parameters, free_on_resume, own_parameters
from clsfit.registry import REPEATABLE, Offer, Plugins

HERE = Path(__file__).parent
COMMANDS = (
    "",
    "train",
    "evaluate",
    "predict",
    "data",
    "data check",
    "data split",
    "data preview",
    "bench",
    "import",
    "plugins",
    "plugins list",
    "plugins show",
    "config",
    "config schema",
)
WIDTH = 100  # columns of a help page
_BLOCK = re.compile(r"(?<=<!-- begin: )([\w ]+)( -->\n).*?(?=<!-- end: \1 -->)", re.S)


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks every page that has a block; returns the exit code."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the reference.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 with a diff if a page is stale")
    check = parser.parse_args(arguments).check
    stale = 0
    for page in sorted(HERE.glob("*.md")):
        old = page.read_text(encoding="utf-8")
        new = filled(old)
        if old == new:
            continue
        stale += 1
        if check:
            lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"{page.name} (now)", "the code", n=1)
            print("\n".join(lines))
        else:
            page.write_text(new, encoding="utf-8", newline="\n")
            print(f"wrote {page.name}")
    if check and stale:
        print("stale: run python docs/reference/generate.py", file=sys.stderr)
    return int(check and stale > 0)


def filled(page: str) -> str:
    """``page`` with each block as the code says it.

    Raises:
        ValueError: a block has no end, or is not one of ``BLOCKS``.
    """
    names = re.findall(r"<!-- begin: (.*?) -->", page)
    if names != [found[1] for found in _BLOCK.finditer(page)] or not set(names) <= set(BLOCKS):
        raise ValueError(f"one of these blocks is unknown or has no end: {names}")
    return _BLOCK.sub(lambda found: f"{found[1]}{found[2]}\n{BLOCKS[found[1]]().strip()}\n\n", page)


def commands() -> str:
    """The help page of every command."""
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(_help, COMMANDS))
    titles = [f"clsfit {command}".strip() for command in COMMANDS]
    return "\n\n".join(f"## {title}\n\n```text\n{page}\n```" for title, page in zip(titles, pages, strict=True))


def _help(command: str) -> str:
    """What ``--help`` prints where nothing of this machine shows: width, colours, plugins, shell, folder."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT", "VIRTUAL_ENV") if name in os.environ}
    plain = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb", "PYTHONUTF8": "1", "CLSFIT_NO_PLUGINS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "clsfit", *command.split(), "--help"],
        env=kept | plain,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    return inspect.cleandoc("\n".join(lines)).strip()


def offers() -> str:
    """The hooks by which a plugin offers components."""
    return "\n\n".join(_hook(node) for node in _methods(hookspecs, "Offers"))


def moments() -> str:
    """The hooks that callbacks are told of."""
    return "\n\n".join(_hook(node) for node in _methods(hookspecs, "Moments"))


def component() -> str:
    """What a hook yields."""
    return docstrings.markdown(inspect.getdoc(hookspecs.Component) or "")


def filled_parameters() -> str:
    """What the core fills in: the module text of the contracts."""
    return docstrings.markdown("\n".join((inspect.getdoc(contracts) or "").splitlines()[2:]))


def protocols() -> str:
    """What each kind of component owes."""
    classes = [node for node in _tree(contracts).body if isinstance(node, ast.ClassDef)]
    return "\n\n".join(_protocol(node) for node in classes)


def _protocol(node: ast.ClassDef) -> str:
    parts = [f"### {node.name}", docstrings.markdown(ast.get_docstring(node) or "")]
    for method in _methods(contracts, node.name):
        parts += [
            f"```python\n{_signature(method, node.name)}\n```",
            docstrings.markdown(ast.get_docstring(method) or ""),
        ]
    return "\n\n".join(parts)


def _hook(node: ast.FunctionDef) -> str:
    doc = docstrings.markdown(ast.get_docstring(node) or "")
    return f"### {node.name}\n\n```python\n{_signature(node)}\n```\n\n{doc}"


def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def _methods(module: ModuleType, name: str) -> Iterator[ast.FunctionDef]:
    owner = next(n for n in _tree(module).body if isinstance(n, ast.ClassDef) and n.name == name)
    return (node for node in owner.body if isinstance(node, ast.FunctionDef))


def _signature(node: ast.FunctionDef, owner: str = "") -> str:
    """``name(arguments) -> result`` as the source spells it, without ``self``."""
    arguments = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    arguments = re.sub(r"(?<=[\w\]])=(?=\S)", " = ", arguments)
    name = owner.lower() if node.name == "__call__" else node.name
    return f"{name}({arguments}) -> {ast.unparse(node.returns) if node.returns else 'None'}"


def components() -> str:
    """Every bundled component by kind, with its options."""
    plugins = Plugins.discover(bundled_only=True, only={"standard"})
    return "\n\n".join(_kind(kind, plugins.offers(kind)) for kind in hookspecs.OFFERS)


def _kind(kind: str, offered: list[Offer]) -> str:
    place = {"dataset": "in DATA's place", "recipe": "`--recipe`"}.get(kind, f"`--{kind}`")
    described = [offer for offer in offered if kind == "recipe" or own_parameters(offer)]
    names = [f"[`{o.name}`](#{kind}-{o.name})" if o in described else f"`{o.name}`" for o in offered]
    rows = [[n, docstrings.cell(o.component.help), _paper(o)] for n, o in zip(names, offered, strict=True)]
    parts = [f"## {kind}: {place}", _table(["name", "what it is", "paper"], rows)]
    if added := added_parameters(kind, ()):
        parts += [f"Every {kind} also takes:", _options(f"--{kind}.", added)]
    return "\n\n".join([*parts, *(_component(offer) for offer in described)])


def _component(offer: Offer) -> str:
    head = f"### {offer.kind} {offer.name}"
    if offer.kind == "recipe":
        return f"{head}\n\n```yaml\n{offer.resource().strip()}\n```"
    known = own_parameters(offer)
    prefix = f"--{offer.kind}." + (f"{offer.name}." if offer.kind in REPEATABLE else "")
    table = _options(prefix, known)
    free = [p.name for p in known if p.name in free_on_resume(offer)]
    note = f"\n\nMay differ when a run is resumed: {', '.join(f'`{name}`' for name in free)}." if free else ""
    return f"{head}\n\n{table}{note}"


def _options(prefix: str, known: Sequence[Parameter]) -> str:
    rows = [_row(prefix + parameter.name, parameter) for parameter in known]
    return _table(["option", "type", "default", "range", "what it is"], rows)


def _paper(offer: Offer) -> str:
    url = offer.component.paper
    return f"[{url.removeprefix('https://').removeprefix('doi.org/')}]({url})" if url else ""


def _row(name: str, parameter: Parameter, none: str = "none") -> list[str]:
    """A row of a table of options; ``none`` is how a default of None is written."""
    default = "must be given" if parameter.default is MISSING else text_of(parameter.default)
    default = none if parameter.default is None else default
    bounds = docstrings.cell(parameter.bounds.replace(f"< {2**63}", "< 2^63"))
    shown = f"`{default}`" if default else "empty"
    return [f"`{name}`", docstrings.cell(parameter.type_text), shown, bounds, docstrings.cell(parameter.help)]


def slots() -> str:
    """Where components go."""
    holds = {slot: f"one {slot}" if slot in SINGLE else f"any number of {slot}s" for slot in SLOTS}
    holds |= {"data": "a path, or one data set", "augment": "any number of augmentations"}
    return _table(["key", "holds"], [[f"`{slot}`", text] for slot, text in holds.items()])


def core_settings() -> str:
    """The core's own options."""
    rows = []
    for setting in settings():
        row = _row(setting.name, setting, "auto" if setting.name in AUTO else "none")
        row[0] += f"<br>`{option_name(setting.name)}`"
        rows.append([*row, "yes" if setting.name in FREE_SETTINGS else ""])
    return _table(["key and option", "type", "default", "range", "what it is", "free on resume"], rows)


def default_recipe() -> str:
    """The bundled recipe that lies under every run."""
    found = Plugins.discover(bundled_only=True, only={"standard"}).find("recipe", "default")
    return f"```yaml\n{found.resource().strip()}\n```"


def exit_codes() -> str:
    """How a process ends, from the tree of errors."""
    meaning = {errors.ExitCode.OK: "All went well.", errors.ExitCode.BUG: "A bug in clsfit. Please report it."}
    for error in errors.ClsfitError.__subclasses__():
        meaning[error.exit_code] = docstrings.cell(inspect.getdoc(error) or "")
    return _table(["code", "name", "meaning"], [[str(int(c)), f"`{c.name}`", meaning[c]] for c in errors.ExitCode])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "offers": offers,
    "moments": moments,
    "component": component,
    "filled": filled_parameters,
    "protocols": protocols,
    "components": components,
    "slots": slots,
    "settings": core_settings,
    "default recipe": default_recipe,
    "exit codes": exit_codes,
}

if __name__ == "__main__":
    sys.exit(main())
