"""The small Grounding DINO in parts."""

import pytest
from transformers import GroundingDinoForObjectDetection, GroundingDinoImageProcessor


@pytest.fixture(scope="module")
def tokenizer(grounding_dino):
    return grounding_dino[1]


@pytest.fixture(scope="module")
def model(grounding_dino) -> GroundingDinoForObjectDetection:
    return grounding_dino[0]


@pytest.fixture(scope="module")
def processor() -> GroundingDinoImageProcessor:
    return GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
