"""The cut-outs and textures that photo_scenes composes: read, checked and cropped."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from captionseg.images import FORMATS
from captionseg.records import UserError
from captionseg.sources.composed import debian_packages

TABLE = "scene_assets.csv"


@dataclass(frozen=True)
class Asset:
    """One cut-out (RGBA) or texture (RGB): a row of scene_assets.csv with its pixels."""

    name: str
    kind: str
    phrase: str
    splits: frozenset[str]
    pixels: Image.Image


@dataclass(frozen=True)
class Assets:
    """All assets, by class and split."""

    items: tuple[Asset, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Class names: objects, then stuff, each in alphabetical order; index = label."""
        return tuple(sorted({a.name for a in self.items if a.kind == "object"})) + tuple(
            sorted({a.name for a in self.items if a.kind == "stuff"})
        )

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """object or stuff, for each name."""
        kind = {a.name: a.kind for a in self.items}
        return tuple(kind[name] for name in self.names)

    def of(self, name: str, split: str) -> list[Asset]:
        """The instances of a class that a split may show, in table order."""
        return [a for a in self.items if a.name == name and split in a.splits]


def read_table_text() -> str:
    """scene_assets.csv: package, path, class, kind, phrase, splits, licence, author, sha256."""
    return (resources.files("captionseg.sources.composed") / TABLE).read_text(encoding="utf-8")


def list_packages() -> list[str]:
    """The Debian packages that the table names."""
    return sorted({row["package"] for row in csv.DictReader(io.StringIO(read_table_text()))})


def load(folders: Mapping[str, Path]) -> Assets:
    """Read all assets from unpacked packages.

    Args:
        folders: package -> folder with its files.

    Raises:
        UserError: if a file is missing, or differs from the one that the table was made from.
    """
    items, archives = [], {}
    for row in csv.DictReader(io.StringIO(read_table_text())):
        inside, _, member = row["path"].partition("!")
        path = folders[row["package"]] / inside
        try:
            if member:
                if path not in archives:
                    archives[path] = zipfile.ZipFile(path)
                data = archives[path].read(member)
            else:
                data = path.read_bytes()
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path}: cannot be read ({error}); another version of {row['package']}? Delete "
                f"{folders[row['package']]} and run again"
            ) from None
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise UserError(
                f"{path}: not the file that scene_assets.csv was made from (sha256 differs), "
                f"scores would not compare; install the version of {row['package']} that the "
                "table's hashes are of"
            )
        pixels = Image.open(io.BytesIO(data), formats=FORMATS).convert(
            "RGBA" if row["kind"] == "object" else "RGB"
        )
        pixels = (
            pixels.crop(pixels.getchannel("A").getbbox()) if row["kind"] == "object" else pixels
        )
        items.append(
            Asset(
                row["class"], row["kind"], row["phrase"], frozenset(row["splits"].split()), pixels
            )
        )
    return Assets(tuple(items))


def fetch() -> Assets:
    """The assets, from the packages in the user's cache; fetched by apt-get the first time."""
    return load(debian_packages.fetch(list_packages()))


def shrink(image: Image.Image, longest: int) -> Image.Image:
    """A copy whose longer side is `longest`, enlarged if need be."""
    scale = longest / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(
        size, Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.BICUBIC, reducing_gap=2.0
    )


def brighten(pixels: np.ndarray, gain: float, tint: np.ndarray) -> np.ndarray:
    """float32 RGB times a gain and a tint per channel, kept in 0..255."""
    return np.clip(pixels.astype(np.float32) * (gain * tint), 0.0, 255.0)
