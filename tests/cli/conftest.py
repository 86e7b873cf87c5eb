"""A model of random weights, which is the best there is, in an empty current folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captionseg import cli
from captionseg.remarks import forget
from tests.captionseg.benchmarks.conftest import save_regions
from tests.captionseg.conftest import toy, world  # noqa: F401


class Segment:
    """Runs `captionseg segment` in this process.

    Attributes:
        out, err: what the last run said, in lines.
    """

    def __init__(self, capsys) -> None:
        self.capsys = capsys
        self.out: list[str] = []
        self.err: list[str] = []

    def __call__(self, *words: str, labels: str = "dog, grass, water") -> int:
        forget()
        given = ["--labels", labels] if labels else []
        code = cli.main(["segment", "--device", "cpu", *words, *given])
        out, err = self.capsys.readouterr()
        self.out, self.err = out.splitlines(), err.splitlines()
        return code

    @property
    def errors(self) -> list[str]:
        return [line for line in self.err if line.startswith("error: ")]


@pytest.fixture
def folder(toy, world, tmp_path, monkeypatch) -> Path:  # noqa: F811
    """The current folder, with a model in models/."""
    from captionseg.training.pretrain import copy_encoder

    save_regions(tmp_path / "models" / "mine", world)
    copy_encoder(world.encoder, tmp_path / "models" / "mine" / "encoder")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def segment(folder, capsys) -> Segment:
    return Segment(capsys)


def draw(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A picture of smooth noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **settings)
    return stream.getvalue()
