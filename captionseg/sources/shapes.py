"""Drawn scenes for tests and first tries: coloured shapes on textured grounds, no network, no
package.

The same task as photo_scenes in small: every picture has exact masks of objects and stuff, its
caption names the largest shape, sometimes a second one, seldom a ground.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from captionseg.records import ClassTable
from captionseg.sources.source import SPLITS, Sample
from captionseg.typed import Count, Natural, Share


def draw_polygon(corners: int, radii: tuple[float, ...] = (1.0,)) -> np.ndarray:
    """Corners at equal angles around 0, first one upward, as complex numbers; radii are taken in
    turn.
    """
    return -1j * np.exp(2j * np.pi * np.arange(corners) / corners) * np.resize(radii, corners)


PLUS = np.array(
    [
        1 + 3j,
        1 + 1j,
        3 + 1j,
        3 - 1j,
        1 - 1j,
        1 - 3j,
        -1 - 3j,
        -1 - 1j,
        -3 - 1j,
        -3 + 1j,
        -1 + 1j,
        -1 + 3j,
    ]
)
OUTLINES = {  # filled in turn: a second outline is a hole
    "circle": (draw_polygon(48),),
    "cross": (PLUS / abs(PLUS).max(),),
    "ring": (draw_polygon(48), 0.55 * draw_polygon(48)),
    "square": (draw_polygon(4) * np.exp(0.25j * np.pi),),
    "star": (draw_polygon(10, (1.0, 0.42)),),
    "triangle": (draw_polygon(3),),
}
GROUNDS = {
    "brick": (172, 92, 70),
    "grass": (84, 148, 58),
    "sand": (214, 188, 136),
    "water": (66, 134, 188),
}
STANDING = {
    "brick": "on brick",
    "grass": "on the grass",
    "sand": "on the sand",
    "water": "in the water",
}
# The spaCy model takes these for adjectives wherever they stand; "white cross", "red ring" or
# "orange" it does not.
COLOURS = {
    "black": (30, 30, 34),
    "blue": (30, 50, 210),
    "brown": (88, 48, 22),
    "yellow": (240, 214, 30),
}
OPENINGS = ("a photo of {}", "{}", "a picture of {}", "here is {}")
NAMES = (*OUTLINES, *GROUNDS)  # both in alphabetical order; index = label
HELD_OUT = 2  # captions beside the first one, for measuring curation
SMALLEST = 0.004  # share of the picture that must be visible of a class for it to count as shown


@dataclass(frozen=True)
class Shapes:
    """Fields of `download.shapes`.

    Attributes:
        train, tune, test: pictures of each split.
        size: side of the square pictures, pixels.
        stuff_named: probability that a caption names one of the grounds.
        second_named: probability that a caption names a second shape.
    """

    train: Natural = 120
    tune: Natural = 24
    test: Natural = 24
    size: Count = 96
    stuff_named: Share = 0.25
    second_named: Share = 0.35

    def __post_init__(self) -> None:
        if min(self.train, self.tune, self.test) < 0:
            raise ValueError("train, tune and test must not be negative")
        if self.size < 32:
            raise ValueError(f"size must be at least 32, found {self.size}")
        if not (0 <= self.stuff_named <= 1 and 0 <= self.second_named <= 1):
            raise ValueError("stuff_named and second_named are probabilities, 0 to 1")

    def prepare(self, folder: Path | None = None) -> None:
        """Nothing is fetched."""

    def splits(self) -> dict[str, int]:
        """See Source."""
        return {split: getattr(self, split) for split in SPLITS}

    def classes(self) -> ClassTable:
        """See Source."""
        return ClassTable(NAMES, ("object",) * len(OUTLINES) + ("stuff",) * len(GROUNDS))

    def licences(self) -> str:
        """See Source: nothing is foreign."""
        return ""

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        """See Source."""
        return [self.draw(split, number, seed=seed) for number in numbers]

    def draw(self, split: str, number: int, *, seed: int) -> Sample:
        """One picture with its caption and its exact mask; depends on seed, split and number
        alone."""
        seeds = [seed, SPLITS.index(split), number]
        rng = np.random.default_rng(seeds)
        canvas, mask = draw_background(self.size, rng)
        shown: list[tuple[str, str]] = []
        count = int(rng.integers(1, 4))
        picked = (
            rng.choice(list(names), size=count, replace=False).tolist()
            for names in (OUTLINES, COLOURS)
        )
        for name, colour in zip(*picked, strict=True):
            inside = draw_silhouette(name, self.size, rng)
            shade = np.array(COLOURS[colour]) + rng.normal(0, 8, 3)
            canvas[inside] = shade + rng.normal(0, 4, (int(inside.sum()), 1))
            mask[inside] = NAMES.index(name)
            shown.append((name, colour))
        visible = np.bincount(mask.ravel(), minlength=len(NAMES)) / mask.size
        stream = io.BytesIO()
        Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=92)
        concepts = tuple(NAMES[i] for i in np.flatnonzero(visible >= SMALLEST))
        shares = dict(zip(NAMES, visible, strict=True))
        caption = self.caption(shown, shares, rng)
        alternatives = (
            self.caption(shown, shares, np.random.default_rng([*seeds, further]))
            for further in range(1, 1 + HELD_OUT)
        )
        return Sample(
            f"shapes:{seed}/{split}/{number}",
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
        self, shown: list[tuple[str, str]], visible: dict[str, float], rng: np.random.Generator
    ) -> str:
        """The largest shape (name, colour), now and then a second one, seldom a ground."""
        largest = sorted(
            (s for s in shown if visible[s[0]] >= SMALLEST), key=lambda s: -visible[s[0]]
        )
        named = largest[: 2 if rng.random() < self.second_named else 1]
        phrase = " and ".join(f"a {colour} {name}" for name, colour in named)
        grounds = [name for name in GROUNDS if visible[name] >= SMALLEST]
        ground, opening = str(rng.choice(grounds)), str(rng.choice(OPENINGS))
        return opening.format(
            f"{phrase} {STANDING[ground]}" if rng.random() < self.stuff_named else phrase
        )


def draw_background(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two grounds, one above the other: float [size, size, 3] and their labels, uint8 [size,
    size]."""
    above, below = (str(name) for name in rng.choice(list(GROUNDS), size=2, replace=False))
    edge = size * rng.uniform(0.35, 0.65) + size * 0.04 * np.sin(
        2 * np.pi * (np.arange(size) / size + rng.random())
    )
    lower = np.arange(size)[:, None] >= edge[None]
    canvas = np.where(
        lower[..., None], draw_texture(below, size, rng), draw_texture(above, size, rng)
    )
    return canvas, np.where(lower, NAMES.index(below), NAMES.index(above)).astype(np.uint8)


def draw_texture(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """float [size, size, 3] of a ground: blades of grass, grains of sand, waves of water, courses
    of brick.
    """
    y, x = np.mgrid[:size, :size] + rng.integers(0, size, (2, 1, 1))
    grain = rng.normal(size=(size, size))
    if name == "grass":
        pattern = sum(np.roll(grain, shift, axis=0) for shift in range(5)) / 1.6
    elif name == "sand":
        pattern = 0.7 * grain
    elif name == "water":
        pattern = (
            1.3 * np.sin(2 * np.pi * (y / 9 + 0.35 * np.sin(2 * np.pi * x / 31))) + 0.2 * grain
        )
    else:
        course = y // 8
        mortar = (y % 8 < 1) | ((x + 8 * (course % 2)) % 16 < 1)
        pattern = np.where(mortar, 4.0, 0.4 * grain)
    return (np.array(GROUNDS[name]) + 14.0 * np.asarray(pattern)[..., None]) * rng.uniform(
        0.85, 1.12
    )


def draw_silhouette(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """Bool [size, size]: a shape of random size, tilt and place, wholly inside the picture."""
    radius = size * rng.uniform(0.17, 0.3)
    centre = complex(*rng.uniform(radius, size - radius, 2))
    turn = radius * np.exp(1j * np.deg2rad(rng.uniform(-15, 15)))
    image = Image.new("1", (size, size))
    for number, outline in enumerate(OUTLINES[name]):
        points = outline * turn + centre
        ImageDraw.Draw(image).polygon(
            list(zip(points.real, points.imag, strict=True)), fill=1 - number % 2
        )
    return np.array(image)
