"""Indexes by name."""

from captionseg.retrieval.exact import ExactIndex
from captionseg.retrieval.faiss import FaissIndex

INDEXES = {"exact": ExactIndex, "faiss": FaissIndex}
