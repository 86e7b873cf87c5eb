"""Sources in small: painted cut-outs and textures for photo_scenes, a folder of pictures, a source
of given samples.
"""

from __future__ import annotations

import colorsys
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from captionseg.records import ClassTable
from captionseg.sources import photo_scenes
from captionseg.sources.composed import scene_assets
from captionseg.sources.composed.scene_assets import Asset, Assets
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.folder import Folder
from captionseg.sources.photo_scenes import PhotoScenes
from captionseg.sources.shapes import Shapes
from captionseg.sources.source import SPLITS, Sample
from captionseg.sources.sources import SOURCES
from captionseg.sources.urls import Urls
from tests.captionseg.sources.fetching.hostile import serving

STUFF = sorted({*photo_scenes.ABOVE, *photo_scenes.BELOW})
OBJECTS = ["ball", "box", "cone"]
BOTH = frozenset({"tune", "test"})
TRAIN = frozenset({"train"})


def hue(number: int) -> tuple[int, int, int]:
    """Colour of class `number`: pure hues that no change of brightness makes alike."""
    red, green, blue = colorsys.hsv_to_rgb(number / (len(OBJECTS) + len(STUFF)), 1.0, 0.8)
    return int(255 * red), int(255 * green), int(255 * blue)


def cut_out(colour: tuple[int, int, int]) -> Image.Image:
    """A disc of 40 pixels on nothing."""
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((0, 0, 39, 39), fill=(*colour, 255))
    return image


@pytest.fixture
def toy_assets() -> Assets:
    """Every ground, three objects, a plain colour a class; an object's instance differs between
    train and the rest.
    """
    items = [
        Asset(
            name,
            "stuff",
            f"on {name}",
            TRAIN | BOTH,
            Image.new("RGB", (50, 30), hue(len(OBJECTS) + i)),
        )
        for i, name in enumerate(STUFF)
    ]
    for i, name in enumerate(OBJECTS):
        items.append(Asset(name, "object", f"a big {name}", TRAIN, cut_out(hue(i))))
        items.append(Asset(name, "object", f"a new {name}", BOTH, cut_out(hue(i))))
    return Assets(tuple(items))


@pytest.fixture
def toy_scenes(toy_assets: Assets, monkeypatch: pytest.MonkeyPatch) -> Assets:
    """photo_scenes without packages: made of toy_assets."""
    monkeypatch.setattr(photo_scenes, "_assets", lambda: toy_assets)
    monkeypatch.setattr(scene_assets, "fetch", lambda: toy_assets)
    return toy_assets


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """File bytes of a picture."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(number: int, width: int = 40, height: int = 30) -> Image.Image:
    """A picture like no other."""
    return Image.fromarray(
        np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder of 20 good pictures, five of them in a subfolder, one caption missing, one file
    broken.
    """
    root = tmp_path / "album"
    (root / "sub").mkdir(parents=True)
    for number in range(20):
        name = f"sub/{number:02d}" if number % 4 == 0 else f"{number:02d}"
        (root / f"{name}.png").write_bytes(encoded(noise(number)))
        (root / f"{name}.txt").write_text(f"picture {number}")
    (root / "lonely.png").write_bytes(encoded(noise(100)))
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    (root / "broken.txt").write_text("a broken picture")
    return root


@pytest.fixture
def url_list(tmp_path: Path) -> Iterator[Path]:
    """A list of 20 pictures that a server has, and of two that it has not; whatever its port is,
    every third is in the same split.
    """
    path, choose_split = tmp_path / "list.tsv", Urls(tune=0.3, test=0.3).choose_split
    with serving() as server:
        names = [f"/good/{number}.jpg" for number in range(20)] + ["/missing.jpg", "/page.jpg"]
        rows = []
        for number, name in enumerate(names):
            several = (f"{server.url(name)}?{query}" for query in itertools.count())
            split = SPLITS[number % 3]
            url = next(u for u in several if choose_split({"picture": u, "sha256": ""}) == split)
            rows.append(f"{url}\tpicture {number}\n")
        path.write_text("url\tcaption\n" + "".join(rows))
        yield path


@pytest.fixture
def make_source(request: pytest.FixtureRequest) -> Callable[[str], object]:
    """A small fresh source by its name in SOURCES."""

    def make(name: str) -> object:
        if name == "photo_scenes":
            request.getfixturevalue("toy_scenes")
            return PhotoScenes(train=5, tune=2, test=2, size=64)
        if name == "shapes":
            return Shapes(train=5, tune=2, test=2, size=32)
        if name == "folder":
            return Folder(str(request.getfixturevalue("album")), tune=0.3, test=0.3, max_side=32)
        if name == "urls":
            path = str(request.getfixturevalue("url_list"))
            http = HttpParams(allow=("127.0.0.1/32",))
            return Urls(path=path, http=http, tune=0.3, test=0.3, max_side=32)
        paths = request.getfixturevalue("written")
        return SOURCES[name](**paths[name], tune=0.3, test=0.3, max_side=32)

    return make


@pytest.fixture
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Sources that read files -> the fields that lead to 22 pictures, one of them broken and one
    gone."""
    from tests.captionseg.sources import layouts

    root = tmp_path_factory.mktemp("written")
    return {
        "table": {"path": str(layouts.write_kaggle(root / "kaggle", 22))},
        "coco_captions": {"annotations": str(layouts.write_coco(root / "coco", 22))},
        "shards": {"path": str(layouts.write_img2dataset(root / "shards", 22, "webdataset"))},
    }


class Given:
    """A source of given samples, by split."""

    def __init__(self, *samples: Sample) -> None:
        self.given = samples

    def prepare(self, folder=None) -> None: ...

    def splits(self) -> dict[str, int]:
        return {split: len(self.of(split)) for split in ("train", "tune", "test")}

    def of(self, split: str) -> list[Sample]:
        return [sample for sample in self.given if sample.split == split]

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        return [self.of(split)[number] for number in numbers]

    def classes(self) -> ClassTable:
        return ClassTable(("thing",), ("object",))

    def licences(self) -> str:
        return ""


@pytest.fixture
def given() -> type[Given]:
    """The class Given."""
    return Given


@pytest.fixture
def picture() -> Callable[..., Sample]:
    """picture(number, split): a good sample of 40 x 30 pixels."""

    def make(number: int, split: str = "train", **fields: object) -> Sample:
        jpeg = encoded(noise(number), "JPEG", quality=90)
        return Sample(f"u/{number}", f"caption {number}", split, jpeg, 40, 30, **fields)

    return make
