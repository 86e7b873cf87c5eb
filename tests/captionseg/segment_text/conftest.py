"""A corpus of coloured squares on plain grounds, in real shards with truth, to make segments of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionseg.datasets.download import write_shards
from captionseg.records import ClassTable
from captionseg.sources.source import Sample

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 60, 220)}
GREY = (120, 120, 120)
SIZE = 64


@dataclass(frozen=True)
class Squares:
    """Row i shows one square of 32 pixels in colour i % 3, 16 pixels from the left and at the top
    or bottom.
    """

    train: int = 6
    test: int = 2

    def prepare(self, folder=None) -> None: ...

    def splits(self) -> dict[str, int]:
        return {"train": self.train, "test": self.test}

    def samples(self, split: str, numbers: Sequence[int], *, seed: int) -> list[Sample]:
        return [self.sample(split, number) for number in numbers]

    def sample(self, split: str, number: int) -> Sample:
        name = list(COLOURS)[number % 3]
        mask = np.full((SIZE, SIZE), 3, np.uint8)
        top = SIZE // 2 * (number % 2)
        mask[top : top + 32, 16:48] = number % 3
        image = np.array([*COLOURS.values(), GREY], np.uint8)[mask]
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=95)
        return Sample(
            f"squares:{split}/{number}",
            f"a {name} square",
            split,
            stream.getvalue(),
            SIZE,
            SIZE,
            concepts=(name, "ground"),
            mask=mask,
        )

    def classes(self) -> ClassTable:
        return ClassTable((*COLOURS, "ground"), ("object", "object", "object", "stuff"))

    def licences(self) -> str:
        return ""


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Folder with pairs/ and truth/: shards 00000 and 00001 of train (four and two), 00002 of test
    (two).
    """
    folder = tmp_path / "data"
    write_shards(
        Squares(), folder / "pairs", folder / "truth", shard_size=4, min_success=0.5, seed=0
    )
    return folder


@pytest.fixture
def features(squares: Path) -> Path:
    """Folder features/ whose dense maps are the pictures' own colours in 0..1, eight by eight
    cells.
    """
    from captionseg.datasets.pair_tables import list_shards
    from captionseg.datasets.shard_images import read_images
    from captionseg.storage.writing import write_array

    for shard in list_shards(squares / "pairs"):
        images = (
            np.stack([image for _, image in read_images(squares / "pairs", shard)]).astype(
                np.float32
            )
            / 255
        )
        cells = images.reshape(len(images), 8, 8, 8, 8, 3).mean(axis=(2, 4))
        write_array(cells.astype(np.float16), squares / "features" / "dense" / f"dense_{shard}.npy")
    return squares / "features"
