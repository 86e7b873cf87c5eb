"""Nearest neighbours by inner product: exact and faiss, one file each."""

from captionseg.retrieval.exact import ExactIndex
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Effort, Index, neighbours, recall

INDEXES = {"exact": ExactIndex, "faiss": FaissIndex}

__all__ = ["INDEXES", "Effort", "ExactIndex", "FaissIndex", "Index", "neighbours", "recall"]
