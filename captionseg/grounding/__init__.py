"""Boxes for phrases, one grounder a file."""

from captionseg.grounding.grounder import Boxes, Grounder
from captionseg.grounding.relevance import JointSpace, Relevance, RelevanceGrounder

GROUNDERS = {"relevance": Relevance}

__all__ = ["GROUNDERS", "Boxes", "Grounder", "JointSpace", "Relevance", "RelevanceGrounder"]
