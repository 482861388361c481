"""Duplicates planted among pictures, and how many of them the survey finds.

    python tests/data/survey/planting.py [--each 250] [--keep FOLDER] [FOLDER ...]

For each FOLDER of pictures, and without one for drawn objects in several views each, it plants EACH copies, as many
encoded again, as many resized and as many mirrored, and says for each kind how many were found, and which pairs were
told that are none. A view is no duplicate of another.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageOps

KINDS = ("copy", "encoded again", "resized", "mirrored")
SUFFIXES = {".png", ".jpg", ".jpeg"}


def draw_object(number: int, side: int = 128) -> Image.Image:
    """A textured ground, and shapes on it: the same for the same number."""
    rng = np.random.default_rng([7, number])
    total = np.full((side, side, 3), 128.0)
    for cells, strength in ((3, 70), (9, 35), (30, 15)):
        coarse = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        total += strength * (np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)) / 127.5 - 1)
    image = Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(3, 7))):
        colour = tuple(int(level) for level in rng.integers(0, 256, 3))
        (left, top), (width, height) = rng.integers(0, side * 3 // 4, 2), rng.integers(side // 8, side // 3, 2)
        if rng.integers(2):
            pen.ellipse((left, top, left + width, top + height), fill=colour)
        else:
            corners = rng.uniform(0, 1, (5, 2)) * (width, height) + (left, top)
            pen.polygon([(float(x), float(y)) for x, y in corners], fill=colour)
    return image


def draw_view(thing: Image.Image, seed: Sequence[int], strength: float = 1.0) -> Image.Image:
    """Another picture of an object: nearer, from another place, in another light, with noise."""
    rng = np.random.default_rng([11, *seed])
    side = thing.width
    part = round(side * (1 - strength * rng.uniform(0.1, 0.3)))
    left, top = (int(rng.integers(0, side - part + 1)) for _ in range(2))
    cut = thing.crop((left, top, left + part, top + part)).resize((side * 3 // 4,) * 2, Image.Resampling.BICUBIC)
    pixels = np.asarray(cut, dtype=np.float64)
    light = 1 + strength * rng.uniform(-0.3, 0.3) * np.linspace(-1, 1, pixels.shape[1])[np.newaxis, :, np.newaxis]
    pixels = pixels * light * (1 + strength * rng.uniform(-0.15, 0.15)) + rng.normal(0, 6 * strength, pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def draw_objects(folder: Path, objects: int, views: int, strength: float = 1.0, first: int = 0) -> Path:
    """``CLASS/object-N/V.png`` in ``folder``: ``views`` of each object, and its class by a coin's toss."""
    coins = np.random.default_rng([5, first]).permutation(objects) % 2
    for number in range(first, first + objects):
        place = folder / ("heads", "tails")[coins[number - first]] / f"object-{number:04}"
        place.mkdir(parents=True)
        thing = draw_object(number)
        for view in range(views):
            draw_view(thing, (number, view), strength).save(place / f"{view}.png")
    return folder


def _bytes(image: Image.Image, form: str, **options: int) -> tuple[str, bytes]:
    out = io.BytesIO()
    image.convert("RGB").save(out, form, **options)
    return "." + form.lower().replace("jpeg", "jpg"), out.getvalue()


def again(kind: str, original: Path, rng: random.Random) -> tuple[str, bytes]:
    """An ending and the bytes of a duplicate of ``original``."""
    if kind == "copy":
        return original.suffix, original.read_bytes()
    with Image.open(original) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if kind == "encoded again":
        form, quality = rng.choice([("JPEG", rng.randrange(40, 96)), ("JPEG", 60), ("WEBP", 70), ("PNG", 0)])
        return _bytes(image, form, **({"quality": quality} if quality else {}))
    if kind == "resized":
        factor = rng.choice([0.5, *(rng.uniform(0.6, 1.5) for _ in range(9))])
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        return _bytes(image.resize(size, Image.Resampling.LANCZOS), "JPEG", quality=90)
    return _bytes(ImageOps.mirror(image), *rng.choice(["JPEG", "PNG"]).split())


@dataclass
class Outcome:
    """What was found.

    Attributes:
        planted: kind -> number.
        found: kind -> number.
        missed: paths of the others.
        false: pairs of paths that were told and show two pictures.
    """

    planted: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    false: list[tuple[str, str]] = field(default_factory=list)


def judge(originals: Sequence[Path], folder: Path, each: int, seed: int = 0) -> Outcome:
    """Plants among ``originals``, which are copied into ``folder``, and surveys it.

    Pictures may be planted several times. One is found if what is told leads from it to its original.
    """
    rng, origin, kind_of = random.Random(seed), {}, {}
    for number, path in enumerate(originals):
        place = folder / "ab"[number % 2] / f"{number:06}{path.suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        origin[f"{place.parent.name}/{place.name}"] = number
    for kind in KINDS:
        for number in range(each):
            chosen = rng.randrange(len(originals))
            ending, data = again(kind, originals[chosen], rng)
            name = f"{rng.choice('ab')}/{kind.replace(' ', '-')}-{number:04}{ending}"
            (folder / name).write_bytes(data)
            origin[name], kind_of[name] = chosen, kind
    outcome = Outcome(dict.fromkeys(KINDS, each), dict.fromkeys(KINDS, 0))
    home = {name: name for name in origin}

    def top(name: str) -> str:
        while home[name] != name:
            name = home[name]
        return name

    for one, other in told(folder):
        if origin[one] != origin[other]:
            outcome.false.append((one, other))
        else:
            home[top(one)] = top(other)
    tops = {number: top(name) for name, number in origin.items() if name not in kind_of}
    for name, kind in kind_of.items():
        if top(name) == tops[origin[name]]:
            outcome.found[kind] += 1
        else:
            outcome.missed.append(name)
    return outcome


def told(folder: Path) -> list[tuple[str, str]]:
    """The pairs that a survey of ``folder`` tells."""
    from clsfit.data.sources import folder as opened
    from clsfit.data.survey import survey
    from clsfit.data.threads import workers_of

    found = survey(opened(folder), str(folder), workers_of(None))
    assert not found.unreadable
    return [(found.table.paths[pair.rows[0]], found.table.paths[pair.rows[1]]) for pair in found.duplicates]


def pixels(path: Path) -> npt.NDArray[np.uint8]:
    """[H, W, 3] of a picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Plants duplicates and counts those that are found.")
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--each", type=int, default=250)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the pictures there")
    chosen = parser.parse_args()
    sets: list[Callable[[Path], Path]] = [lambda work, path=path: path for path in chosen.folders]  # type: ignore[misc]
    for number, make in enumerate(sets or [lambda work: draw_objects(work / "objects", 600, 3)]):
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            originals = sorted(path for path in make(work).rglob("*") if path.suffix.lower() in SUFFIXES)
            outcome = judge(originals, chosen.keep / str(number) if chosen.keep else work / "planted", chosen.each)
        print(f"{len(originals)} pictures, {len(outcome.false)} false alarms: {json.dumps(outcome.found)}")
        print(json.dumps({"missed": outcome.missed, "false": outcome.false}))


if __name__ == "__main__":
    main()
