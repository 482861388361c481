"""The page shows what was found, asks nobody for anything, and no name is markup in it."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from clsfit.data.sources import folder
from clsfit.data.survey import Survey, page

Tree = Callable[..., Path]
Scenes = Callable[..., bytes]
Surveyed = Callable[..., Survey]


class _Reader(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in {"meta", "br", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def made(root: Path, found: Survey, name: str = "photos") -> str:
    return b"".join(page.pieces(folder(root), found, name)).decode()


def test_pairs_stand_side_by_side_as_small_pictures(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    def large(image: Image.Image) -> Image.Image:
        return image.resize((640, 480))

    root = make_tree(
        {
            "train/cat/1.png": scenes(1, large),
            "val/dog/2.jpg": scenes(1, large, "JPEG"),
            "train/dog/3.png": scenes(3),
            "val/cat/4.png": b"torn",
        }
    )
    read = _Reader(made(root, surveyed(root)))
    assert read.open == []
    images = [value for name, value in read.attributes if name == "src"]
    assert len(images) == 2
    for image in images:
        assert image.startswith("data:image/jpeg;base64,")
        data = base64.b64decode(image.partition(",")[2], validate=True)
        assert max(Image.open(io.BytesIO(data)).size) <= 144
        assert len(data) < 20_000
    text = "\n".join(read.texts)
    for shown in (
        "train/cat/1.png", "cat, train", "640x480 PNG", "val/dog/2.jpg", "dog, val", "640x480 JPEG",
        "in two splits, with two labels", "near: encoded again, resized or mirrored",
    ):  # fmt: skip
        assert shown in text
    assert "val/cat/4.png" in text
    assert "1 near" in text


def test_pictures_of_a_few_pixels_are_enlarged_sharp(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    def tiny(image: Image.Image) -> Image.Image:
        return image.resize((8, 6))

    root = make_tree({"a/1.png": scenes(1, tiny), "a/2.png": scenes(1, tiny), "b/1.png": scenes(2, tiny)})
    text = made(root, surveyed(root))
    assert text.count('<img alt="" class="enlarged" width="96" height="72" ') == 2
    assert ".enlarged { image-rendering: pixelated }" in text


def test_where_nothing_is_found_the_page_says_so(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    root = make_tree(
        {f"{name}/{seed}.png": scenes(seed + place) for place, name in ((0, "a"), (9, "b")) for seed in (1, 2)}
    )
    assert "<ul><li>nothing was found that is not as it should be</li></ul>" in made(root, surveyed(root))


def test_nothing_is_asked_of_others(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    root = make_tree({"a/1.png": scenes(1), "b/1.png": scenes(1), "b/2.png": scenes(2)})
    text = made(root, surveyed(root))
    read = _Reader(text)
    assert not {"script", "link", "iframe", "object", "embed", "base", "a"} & {*read.tags}
    assert not [name for name, _ in read.attributes if name in {"href", "srcset", "action"} or name.startswith("on")]
    assert not re.search(r"url\(|@import|https?://", text)


def test_names_are_text_and_no_markup(make_tree: Tree, scenes: Scenes, surveyed: Surveyed) -> None:
    evil = "<script>alert(1)&amp;<"
    names = [f"{evil}\x1b[31m.png", "\"onload='x'.png", b"\xff\xfe.png".decode("utf-8", "surrogateescape")]
    root = make_tree({f"<b>a/{name}": scenes(1) for name in names} | {"<i>b/1.png": scenes(1), "<i>b/2.png": b"torn"})
    read = _Reader(made(root, surveyed(root), "<u>photos"))
    assert not {"script", "u", "i"} & {*read.tags}
    text = "".join(read.texts)
    assert evil in text
    assert "\x1b" not in text
    assert "<u>photos" in text
    assert r"\udcff\udcfe.png" in text
    assert not [name for name, _ in read.attributes if name.startswith("on")]


def test_a_page_of_many_pairs_shows_some_and_counts_the_rest(
    make_tree: Tree, scenes: Scenes, surveyed: Surveyed
) -> None:
    root = make_tree({f"a/{i:03}.png": scenes(1) for i in range(320)} | {"b/1.png": scenes(2)})
    text = made(root, surveyed(root))
    assert text.count("<img") == 600
    assert "and 19 more" in text
    assert "319 exact" in text
