"""What the source may not hold: constructs through which data becomes code, or files land where they should not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_PLUGINS = [path for path in ROOT.glob("plugins/**/*.py") if "tests" not in path.relative_to(ROOT).parts]
SOURCES = sorted([*ROOT.glob("clsfit/**/*.py"), *_PLUGINS, *ROOT.glob("docs/**/*.py")])

MODULES = frozenset({"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "telnetlib"})
"""Modules whose files run code when they are read."""

CALLS = {
    "eval": "runs its argument",
    "exec": "runs its argument",
    "compile": "makes code",
    "__import__": "imports what a text names",
    "os.system": "runs a shell",
    "os.popen": "runs a shell",
    "subprocess.getoutput": "runs a shell",
    "subprocess.getstatusoutput": "runs a shell",
    "yaml.load": "makes any object",
    "yaml.load_all": "makes any object",
    "yaml.unsafe_load": "makes any object",
    "yaml.full_load": "makes any object",
    "shutil.unpack_archive": "unpacks an archive",
    "tarfile.open": "unpacks an archive",
    "tarfile.TarFile": "unpacks an archive",
    "tempfile.mktemp": "names a file that somebody else may make",
    "torch.jit.load": "loads a program",
    "torch.export.load": "loads a program",
    "torch.hub.load": "runs a downloaded repository",
    "torch.hub.load_state_dict_from_url": "downloads over any address, and unpickles",
    "torch.hub.download_url_to_file": "downloads over any address",
    "urllib.request.urlopen": "downloads over any address",
    "xml.etree.ElementTree.parse": "expands entities",
}
METHODS = {"extractall": "unpacks an archive", "extract": "unpacks an archive"}
LOADERS = frozenset({"Loader", "FullLoader", "UnsafeLoader", "CLoader", "CFullLoader"})


def faults(source: str, name: str) -> list[str]:
    """``name:line: what`` for each forbidden construct in ``source``."""
    tree = ast.parse(source)
    names = dict(_imported(tree))
    return [f"{name}:{line}: {what}" for line, what in _found(tree, names, name)]


def _imported(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each name that an import binds, and what it stands for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (
                    alias.asname or alias.name.partition(".")[0],
                    alias.name if alias.asname else alias.name.partition(".")[0],
                )
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _found(tree: ast.AST, names: dict[str, str], name: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.partition(".")[0] in MODULES:
                    yield node.lineno, f"{module}: its files run code"
                if module.startswith("torchvision.datasets.utils"):
                    yield node.lineno, "torchvision's extractor leaves its folder"
        elif isinstance(node, ast.Attribute) and node.attr in LOADERS and _dotted(node, names).startswith("yaml."):
            yield node.lineno, f"yaml.{node.attr} makes any object"
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in _call(node, names, name))


def _call(node: ast.Call, names: dict[str, str], name: str) -> Iterator[str]:
    called = _dotted(node.func, names)
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    if called in CALLS and not (called == "compile" and "compile" in names):
        yield f"{called} {CALLS[called]}"
    if isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield f".{node.func.attr} {METHODS[node.func.attr]}"
    if called in {"torch.load", "torch.serialization.load"}:
        safe = given.get("weights_only")
        if name != "clsfit/foreign.py":
            yield "torch.load outside of clsfit/foreign.py"
        if not (isinstance(safe, ast.Constant) and safe.value is True):
            yield "torch.load without weights_only=True"
    if called in {"numpy.load", "numpy.lib.npyio.load"} and "allow_pickle" in given:
        yield "numpy.load with allow_pickle"
    if "shell" in given and not (isinstance(given["shell"], ast.Constant) and given["shell"].value is False):
        yield "a shell"


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """``torch.hub.load`` for that expression, imports looked through; empty for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def test_the_tree_is_there() -> None:
    assert len(SOURCES) > 100
    assert ROOT / "clsfit" / "foreign.py" in SOURCES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_turns_data_into_code(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "import shelve, marshal",
        "import dill as d",
        "import torch\ntorch.load('x', weights_only=True)",
        "from torch import load as read\nread('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import yaml\nyaml.load('x', Loader=yaml.SafeLoader)",
        "import yaml as y\ny.unsafe_load('x')",
        "from yaml import full_load\nfull_load('x')",
        "import yaml\nclass L(yaml.UnsafeLoader): pass",
        "eval('1')",
        "exec('1')",
        "compile('1', 'x', 'exec')",
        "__import__('os')",
        "import os\nos.system('true')",
        "from os import popen\npopen('true')",
        "import subprocess\nsubprocess.run('true', shell=True)",
        "import subprocess as s\nflag = True\ns.Popen('true', shell=flag)",
        "import zipfile\nzipfile.ZipFile('x').extractall('y')",
        "def f(archive):\n    archive.extract('a')",
        "import tarfile\ntarfile.open('x')",
        "import shutil\nshutil.unpack_archive('x')",
        "from torchvision.datasets.utils import download_and_extract_archive",
        "import tempfile\ntempfile.mktemp()",
        "import torch.hub\ntorch.hub.load('a/b', 'c')",
        "from torch.hub import load_state_dict_from_url as get\nget('http://x')",
        "import urllib.request\nurllib.request.urlopen('http://x')",
    ],
)
def test_each_rule_finds_what_it_forbids(planted: str) -> None:
    assert faults(planted, "clsfit/planted.py") != []


def test_the_one_module_that_may_load_must_load_safely() -> None:
    safe, unsafe = "import torch\ntorch.load('x', weights_only=True)", "import torch\ntorch.load('x', weights_only=0)"
    assert faults(safe, "clsfit/foreign.py") == []
    assert faults(unsafe, "clsfit/foreign.py") != []
    assert faults("import re\nre.compile('x')", "clsfit/planted.py") == []
