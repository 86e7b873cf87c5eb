"""Grounders by name."""

from captionseg.grounding.grounding_dino import GroundingDino
from captionseg.grounding.precomputed import Precomputed
from captionseg.grounding.relevance import Relevance
from captionseg.grounding.sam3 import Sam3

GROUNDERS = {
    "grounding_dino": GroundingDino,
    "relevance": Relevance,
    "precomputed": Precomputed,
    "sam3": Sam3,
}
