"""What cases share: the size, the pictures, and how programs are started."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from measure import Figure, Program

SIZES = ("tiny", "small", "full")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Setting:
    """Where and how large to measure.

    Attributes:
        size: one of :data:`SIZES`.
        data: the folder with ``cifar10/`` and ``photos/``; None: pictures are drawn.
        work: a folder for what is written meanwhile.
        device: ``cpu`` or ``cuda``.
    """

    size: str
    data: Path | None
    work: Path
    device: str

    def of(self, tiny: Any, small: Any, full: Any) -> Any:
        """The one of the three that the size asks for."""
        return {"tiny": tiny, "small": small, "full": full}[self.size]

    @property
    def workers(self) -> int:
        """Worker processes of peers: as many as cores, at most 16."""
        return 0 if self.size == "tiny" else min(16, os.cpu_count() or 1)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device != "cpu"

    @property
    def costs(self) -> list[Figure]:
        """What a GPU's time is bought with, on a GPU; of the programs that can tell."""
        host = Figure("cpu", "whole process, s of all cores together")
        return [host, Figure("device_peak", "peak of the GPU's memory, MiB")] if self.on_gpu else []

    @cached_property
    def small(self) -> Path:
        """``train/CLASS/*`` and ``test/CLASS/*`` of 32x32: CIFAR-10 or a part of it."""
        return self._cifar10("small", {"train": self.of(0, 1000, 5000), "test": self.of(0, 1000, 1000)})

    @cached_property
    def whole(self) -> Path:
        """As ``small``, but all of CIFAR-10 at every size but tiny."""
        return self._cifar10("whole", {"train": 5000, "test": 1000})

    @cached_property
    def validated(self) -> Path:
        """As ``small``, but what is not trained on is called ``val``; a tenth of it at most at the size small."""
        return self._cifar10("validated", {"train": self.of(0, 1000, 5000), "val": self.of(0, 100, 1000)})

    def _cifar10(self, name: str, per_class: dict[str, int]) -> Path:
        """Part and pictures per class, in a folder called ``name``; all but ``train`` are from CIFAR-10's tests."""
        if self.size == "tiny":
            return self._drawn(name, 32, tuple(per_class))
        assert self.data is not None
        for part, count in per_class.items():
            for folder in _classes(self.data / "cifar10" / ("train" if part == "train" else "test")):
                _link(_files(folder)[:count], self.work / name / part / folder.name)
        return self.work / name

    @cached_property
    def photos(self) -> Path:
        """``train/CLASS/*`` and ``test/CLASS/*`` of photographs: every fifth tests, the others are there several times.

        A picture more than once: an epoch of few pictures would measure how one begins.
        """
        if self.size == "tiny":
            return self._drawn("photos", 96)
        assert self.data is not None
        folders = _classes(self.data / "photos")
        copies = max(1, self.of(0, 1500, 6000) // sum(len(_files(folder)) for folder in folders))
        for folder in folders:
            found = _files(folder)
            _link(found[::5], self.work / "photos" / "test" / folder.name)
            kept = [path for place, path in enumerate(found) if place % 5]
            for copy in range(copies):
                _link(kept, self.work / "photos" / "train" / folder.name, f"{copy}-")
        return self.work / "photos"

    def _drawn(self, name: str, side: int, parts: tuple[str, ...] = ("train", "test")) -> Path:
        from clsfit.testing import draw_pictures

        for part, count, seed in zip(parts, (32, 10), (0, 1), strict=True):
            draw_pictures(self.work / name / part, dict.fromkeys(("bars", "dots", "rings"), count), side, seed)
        return self.work / name

    def command(self, name: str, *words: object, exit_code: int = 0, **environment: str) -> Program:
        """``clsfit WORDS``."""
        return Program(name, self._python("-m", "clsfit", *words), (), self.environment(environment), exit_code)

    def train(self, name: str, folder: Path, *words: object) -> Program:
        """``clsfit train WORDS -o FOLDER``, with the accuracy and the number of pictures of the run."""
        program = self.command(name, "train", *words, "--overwrite", "-o", folder)
        return replace(program, found=partial(_of_run, folder))

    def ours(self, name: str, script: str, *words: object, **environment: str) -> Program:
        """A program of ``ours/``, which calls clsfit."""
        return Program(name, self._python(HERE / "ours" / script, *words), (), self.environment(environment))

    def peer(self, name: str, script: str, *words: object, needs: tuple[str, ...] = (), **environment: str) -> Program:
        """A program of ``peers/``, which does not."""
        return Program(name, self._python(HERE / "peers" / script, *words), needs, self._threads() | environment)

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """The benchmarks' plugin can be found, and no picture was decoded before."""
        paths = os.pathsep.join(filter(None, [str(HERE / "plugin"), os.environ.get("PYTHONPATH")]))
        return self._threads() | {"PYTHONPATH": paths, "CLSFIT_CACHE": str(self.work / "cache")} | more

    def _threads(self) -> dict[str, str]:
        """Torch's own choice, but one where tests run side by side."""
        return {"OMP_NUM_THREADS": "1"} if self.size == "tiny" else {}

    def _python(self, *words: object) -> tuple[str, ...]:
        return (sys.executable, *map(str, words))


def _of_run(folder: Path) -> dict[str, Any]:
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    with open(folder / "split.csv", newline="") as file:
        trained = sum(row["split"] == "train" for row in csv.DictReader(file))
    accuracy = last.get("val/accuracy", last["train/accuracy"])
    return {"accuracy": accuracy, "pictures": last["epoch"] * trained}


def _classes(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})


def _link(files: list[Path], folder: Path, prefix: str = "") -> None:
    """The files in another folder: no bytes are copied where that can be avoided."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in files:
        try:
            os.link(path, folder / f"{prefix}{path.name}")
        except OSError:
            shutil.copyfile(path, folder / f"{prefix}{path.name}")
