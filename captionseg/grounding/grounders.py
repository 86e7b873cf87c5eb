"""Grounders by name."""

from captionseg.grounding.grounding_dino import GroundingDino
from captionseg.grounding.owlv2 import Owlv2
from captionseg.grounding.precomputed import Precomputed
from captionseg.grounding.relevance import Relevance
from captionseg.grounding.sam3 import Sam3

GROUNDERS = {
    "grounding_dino": GroundingDino,
    "relevance": Relevance,
    "precomputed": Precomputed,
    "owlv2": Owlv2,
    "sam3": Sam3,
}
