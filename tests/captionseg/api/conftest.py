"""A model of random weights and pictures of two colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import captionseg
from tests.captionseg.benchmarks.conftest import groups, regions  # noqa: F401


@pytest.fixture
def model(regions: Path) -> captionseg.Model:  # noqa: F811
    (regions / "concepts.txt").write_text("dog\ncat\ngrass\nwater\n", encoding="utf-8")
    return captionseg.load(regions, device="cpu")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 25, 3), dtype=np.uint8)
