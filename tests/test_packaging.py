"""The sdist, and the wheel that is built from it: everything in the tree is in them, and nothing else."""

from __future__ import annotations

import configparser
import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import clsfit

ROOT = Path(clsfit.__file__).parent.parent
BUNDLED = {"clsfit": ROOT / "clsfit", "clsfit_standard": ROOT / "plugins" / "clsfit_standard"}

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the source tree")


def in_tree(folder: Path) -> set[str]:
    """The files below a folder, but what Python and tools leave behind."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not any(part.startswith(".") for part in path.parts[-3:])
    }


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked sdist, built by the build backend's own hook."""
    folder = tmp_path_factory.mktemp("sdist")
    hook = "import sys, hatchling.build; print(hatchling.build.build_sdist(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", hook, folder], cwd=ROOT, capture_output=True, text=True, check=True, timeout=240
    )
    name = done.stdout.split()[-1]
    assert name == f"clsfit-{clsfit.__version__}.tar.gz"
    with tarfile.open(folder / name) as archive:
        archive.extractall(folder, filter="data")
    return folder / name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of every file in the wheel that pip builds from the sdist."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "-q"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "-w", folder, sdist],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    (path,) = folder.iterdir()
    assert path.name == f"clsfit-{clsfit.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.mark.parametrize("package", BUNDLED)
def test_the_wheel_holds_the_tree(wheel: dict[str, str], package: str) -> None:
    packed = {name: text for name, text in wheel.items() if name.startswith(f"{package}/")}
    assert set(packed) == {f"{package}/{name}" for name in in_tree(BUNDLED[package])}
    for name, text in packed.items():
        assert text == (BUNDLED[package].parent / name).read_text(encoding="utf-8"), name


def test_the_wheel_holds_what_typing_and_recipes_need(wheel: dict[str, str]) -> None:
    assert {"clsfit/py.typed", "clsfit_standard/py.typed", "clsfit_standard/recipes/default.yaml"} <= set(wheel)


def test_the_wheel_holds_nothing_else(wheel: dict[str, str]) -> None:
    info = f"clsfit-{clsfit.__version__}.dist-info"
    assert {name.partition("/")[0] for name in wheel} == {*BUNDLED, info}
    assert {name for name in wheel if name.startswith(info)} == {
        f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }


def test_entry_points(wheel: dict[str, str]) -> None:
    points = configparser.ConfigParser()
    points.read_string(wheel[f"clsfit-{clsfit.__version__}.dist-info/entry_points.txt"])
    assert {section: dict(points[section]) for section in points.sections()} == {
        "console_scripts": {"clsfit": "clsfit.__main__:start"},
        "clsfit": {"standard": "clsfit_standard"},
    }


def test_metadata(wheel: dict[str, str]) -> None:
    metadata = email.message_from_string(wheel[f"clsfit-{clsfit.__version__}.dist-info/METADATA"])
    assert (metadata["Name"], metadata["Version"]) == ("clsfit", clsfit.__version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    required = {line.replace(" ", "") for line in metadata.get_all("Requires-Dist") if "extra" not in line}
    assert {"torch>=2.11", "torchvision>=0.26"} <= required
    assert metadata.get_payload() == (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_sdist_holds_sources_and_tests(sdist: Path) -> None:
    for folder in ("clsfit", "plugins/clsfit_standard", "tests", "docs"):
        packed, expected = in_tree(sdist / folder), in_tree(ROOT / folder)
        assert packed == expected, packed ^ expected
    top = {path.name for path in sdist.iterdir()}
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= top
    assert top <= {
        "clsfit",
        "plugins",
        "tests",
        "docs",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "PKG-INFO",
        ".gitignore",
    }
