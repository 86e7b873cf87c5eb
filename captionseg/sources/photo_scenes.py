"""The default source: scenes composed of photographic cut-outs on photographed textures, with
salient-only captions.

Real photographs with exactly known masks, from three Debian packages and nothing else. A caption
names the largest object, sometimes a second one, seldom what it stands on: the semantic gap that
curation has to close. Cut-outs and textures are held out between train, tune and test wherever a
class has more than one (scene_assets.csv: splits).
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from captionseg.records import ClassTable
from captionseg.sources.composed import scene_assets
from captionseg.sources.composed.scene_assets import Asset, Assets
from captionseg.sources.source import SPLITS, Sample
from captionseg.typed import Count, Natural, Share

ABOVE = ("sky", "brick", "wood", "hedge", "rock", "tile")
BELOW = ("grass", "snow", "sand", "pebble", "rock", "tile", "wood")
OPENINGS = (
    "a photo of {}",
    "{}",
    "a picture of {}",
    "{} seen from close by",
    "here is {}",
    "we saw {}",
)
LONGEST = (0.38, 0.75)  # longer side of an object, share of the picture's side
IGNORE = 255
HELD_OUT = 2  # captions beside the first one, for measuring curation
SMALLEST = 0.004  # share of the picture that must be visible of an object for it to count as shown


@dataclass(frozen=True)
class PhotoScenes:
    """Fields of `download.photo_scenes`.

    Attributes:
        train, tune, test: pictures of each split.
        size: side of the square pictures, pixels.
        stuff_named: probability that a caption names one stuff region.
        second_named: probability that a caption names a second object.
        objects: probabilities of one, two, ... objects.
        third_stuff: probability of a third stuff region.
    """

    train: Natural = 3000
    tune: Natural = 300
    test: Natural = 300
    size: Count = 224
    stuff_named: Share = 0.12
    second_named: Share = 0.35
    objects: tuple[Share, ...] = (0.25, 0.4, 0.25, 0.1)
    third_stuff: Share = 0.3

    def __post_init__(self) -> None:
        if min(self.train, self.tune, self.test) < 0:
            raise ValueError("train, tune and test must not be negative")
        if self.size < 32:
            raise ValueError(f"size must be at least 32, found {self.size}")
        if not all(0 <= p <= 1 for p in (self.stuff_named, self.second_named, self.third_stuff)):
            raise ValueError("stuff_named, second_named and third_stuff are probabilities, 0 to 1")
        if not self.objects or min(self.objects) < 0 or sum(self.objects) == 0:
            raise ValueError("objects: give the probabilities of one, two, ... objects")

    def prepare(self, folder: Path | None = None) -> None:
        """Fetch and check the packages."""
        scene_assets.fetch()

    def splits(self) -> dict[str, int]:
        """See Source."""
        return {split: getattr(self, split) for split in SPLITS}

    def classes(self) -> ClassTable:
        """See Source."""
        assets = _assets()
        return ClassTable(assets.names, assets.kinds)

    def licences(self) -> str:
        """See Source: the asset table itself."""
        return scene_assets.read_table_text()

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        """See Source."""
        return [self.compose(_assets(), split, number, seed=seed) for number in numbers]

    def compose(self, assets: Assets, split: str, number: int, *, seed: int) -> Sample:
        """One scene with its caption and its exact mask; depends on seed, split and number
        alone."""
        seeds = [seed, SPLITS.index(split), number]
        rng = np.random.default_rng(seeds)
        canvas, mask = draw_background(assets, split, self.size, rng, third=self.third_stuff)
        count = 1 + int(rng.choice(len(self.objects), p=np.array(self.objects) / sum(self.objects)))
        names = [n for n, kind in zip(assets.names, assets.kinds, strict=True) if kind == "object"]
        shown: list[tuple[Asset, int]] = []
        for name in rng.choice(names, size=min(count, len(names)), replace=False):
            instances = assets.of(str(name), split)
            asset = instances[int(rng.integers(len(instances)))]
            paste(canvas, mask, asset, assets.names.index(asset.name), rng)
            shown.append((asset, assets.names.index(asset.name)))
        visible = np.bincount(mask.ravel(), minlength=len(assets.names)) / mask.size
        for label in {label for _, label in shown if visible[label] < SMALLEST}:
            mask[mask == label] = IGNORE  # a sliver behind something else: nobody could name it
        present = [
            asset
            for asset, label in sorted(shown, key=lambda s: -visible[s[1]])
            if visible[label] >= SMALLEST
        ]
        caption = self.caption(assets, present, visible, rng)
        alternatives = (
            self.caption(assets, present, visible, np.random.default_rng([*seeds, further]))
            for further in range(1, 1 + HELD_OUT)
        )
        stream = io.BytesIO()
        Image.fromarray(canvas.astype(np.uint8)).save(stream, "JPEG", quality=92)
        concepts = tuple(assets.names[i] for i in np.flatnonzero(visible >= SMALLEST))
        return Sample(
            f"photo_scenes:{seed}/{split}/{number}",
            caption,
            split,
            stream.getvalue(),
            self.size,
            self.size,
            held_out=tuple(dict.fromkeys(text for text in alternatives if text != caption)),
            concepts=concepts,
            mask=mask,
        )

    def caption(
        self, assets: Assets, present: list[Asset], visible: np.ndarray, rng: np.random.Generator
    ) -> str:
        """What a person would mention: the largest object, now and then a second, seldom the
        ground.
        """
        stuff = [
            i for i, kind in enumerate(assets.kinds) if kind == "stuff" and visible[i] >= SMALLEST
        ]
        names_second, names_stuff = rng.random(2) < (self.second_named, self.stuff_named)
        opening, place = (
            OPENINGS[int(rng.integers(len(OPENINGS)))],
            int(rng.integers(max(1, len(stuff)))),
        )
        phrase = present[0].phrase if present else "a place"
        if names_second and len(present) > 1:
            phrase += f" and {present[1].phrase}"
        if (names_stuff or not present) and stuff:
            phrase += " " + next(
                a.phrase for a in assets.items if a.name == assets.names[stuff[place]]
            )
        return opening.format(phrase)


@functools.cache
def _assets() -> Assets:
    """Once a process."""
    return scene_assets.fetch()


def draw_background(
    assets: Assets, split: str, size: int, rng: np.random.Generator, *, third: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two or three textured bands with wavy borders: float32 [size, size, 3] and their labels,
    uint8 [size, size].
    """
    above, below = str(rng.choice(ABOVE)), str(rng.choice(BELOW))
    bands = [above, *([str(rng.choice(BELOW))] if rng.random() < third else []), below]
    horizon = np.sort(rng.uniform(0.3, 0.75, len(bands) - 1)) * size
    x = np.arange(size) / size
    level = np.zeros((size, size), int)
    for edge in horizon:
        wave = edge + sum(
            rng.uniform(0, 0.03) * size * np.sin(2 * np.pi * (f * x + rng.random()))
            for f in (1, 2, 5)
        )
        level += np.arange(size)[:, None] >= wave[None]
    canvas, mask = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.uint8)
    for number, name in enumerate(bands):
        inside = level == number
        canvas[inside] = cut_texture(assets.of(name, split), size, rng)[inside]
        mask[inside] = assets.names.index(name)
    return canvas, mask


def cut_texture(instances: list[Asset], size: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [size, size, 3]: a random cut of a random instance, mirrored into tiles where it is
    too small.
    """
    image = instances[int(rng.integers(len(instances)))].pixels
    scale = rng.uniform(0.6, 1.4) * size / 256
    image = image.resize(
        (max(32, int(image.width * scale)), max(32, int(image.height * scale))),
        Image.Resampling.BILINEAR,
        reducing_gap=2.0,
    )
    tile = np.asarray(image)
    tile = np.concatenate([tile, tile[:, ::-1]], 1)
    tile = np.concatenate([tile, tile[::-1]], 0)
    repeat = [-(-2 * size // n) for n in tile.shape[:2]]
    tile = np.tile(tile, (*repeat, 1))
    y, x = rng.integers(tile.shape[0] - size + 1), rng.integers(tile.shape[1] - size + 1)
    cut = tile[y : y + size, x : x + size]
    return scene_assets.brighten(
        cut, rng.uniform(0.75, 1.2), rng.uniform(0.94, 1.06, 3).astype(np.float32)
    )


def paste(
    canvas: np.ndarray, mask: np.ndarray, asset: Asset, label: int, rng: np.random.Generator
) -> None:
    """Put one object somewhere, in place: scaled, mirrored, tilted, brightened; the mask loses what
    it covers.
    """
    size = len(mask)
    image = scene_assets.shrink(asset.pixels, int(size * rng.uniform(*LONGEST)))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(float(rng.uniform(-12, 12)), Image.Resampling.BILINEAR, expand=True)
    pixels = np.asarray(image)
    alpha = pixels[..., 3:].astype(np.float32) / 255.0
    gain, tint = rng.uniform(0.8, 1.15), rng.uniform(0.95, 1.05, 3).astype(np.float32)
    colour = scene_assets.brighten(pixels[..., :3], gain, tint)
    height, width = alpha.shape[:2]
    top = int(rng.integers(0, max(1, size - height + 1)))
    left = int(rng.integers(0, max(1, size - width + 1)))
    height, width = min(height, size - top), min(width, size - left)
    window = (slice(top, top + height), slice(left, left + width))
    alpha, colour = alpha[:height, :width], colour[:height, :width]
    canvas[window] = canvas[window] * (1 - alpha) + colour * alpha
    mask[window] = np.where(alpha[..., 0] > 0.5, label, mask[window])
