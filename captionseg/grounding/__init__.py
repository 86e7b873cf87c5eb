"""Boxes for phrases, one grounder a file."""

from captionseg.grounding.grounder import Boxes, Grounder, Query, joined
from captionseg.grounding.grounding_dino import GroundingDino, GroundingDinoGrounder
from captionseg.grounding.relevance import JointSpace, Relevance, RelevanceGrounder

GROUNDERS = {"grounding_dino": GroundingDino, "relevance": Relevance}

__all__ = [
    "GROUNDERS",
    "Boxes",
    "Grounder",
    "GroundingDino",
    "GroundingDinoGrounder",
    "JointSpace",
    "Query",
    "Relevance",
    "RelevanceGrounder",
    "joined",
]
