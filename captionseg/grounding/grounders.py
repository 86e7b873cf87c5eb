"""Grounders by name."""

from captionseg.grounding.grounding_dino import GroundingDino
from captionseg.grounding.precomputed import Precomputed
from captionseg.grounding.relevance import Relevance

GROUNDERS = {"grounding_dino": GroundingDino, "relevance": Relevance, "precomputed": Precomputed}
