"""Frozen image-text encoders, one file each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from captionseg.encoders.alignment import Alignment, AlignmentParams
from captionseg.encoders.encoder import Encoder, Features, normalised
from captionseg.encoders.lite0_minilm import Lite0MiniLMParams
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.encoders.text_space import TextSpace, load_encoder
from captionseg.runtime import Precision
from captionseg.runtime.device import detect

ENCODERS = {"lite0_minilm": Lite0MiniLMParams, "open_clip": OpenClipParams}

__all__ = ["ENCODERS", "Alignment", "AlignmentParams", "Encoder", "Features", "IndexParams", "TextSpace",
           "load_encoder", "normalised"]


@dataclass(frozen=True)
class IndexParams:
    """Section `index` of params.yaml.

    Attributes:
        encoder: which member of ENCODERS.
        device: auto, cpu, cuda or cuda:N.
        precision: fp32, bf16 or fp16 of the image tower.
        backend: how neighbours are searched: exact (one matrix product) or faiss.
        faiss_key: faiss factory string; null chooses by size (Flat under 100,000 rows, else HNSW32).
        neighbours: how many similar images a row of neighbours.parquet holds.
        caption_neighbours: how many captions that fit the image a row of caption_neighbours.parquet holds.
        dense_width: principal components that dense features are reduced to; 0 keeps all channels, and an encoder that
            is aligned with text already keeps them always.
        dense_sample: images that the components are taken from.
    """

    encoder: Literal["lite0_minilm", "open_clip"] = "lite0_minilm"
    device: str = "auto"
    precision: Precision = "fp32"
    backend: Literal["exact", "faiss"] = "faiss"
    faiss_key: str | None = None
    neighbours: int = 256
    caption_neighbours: int = 16
    dense_width: int = 256
    dense_sample: int = 200
    alignment: AlignmentParams = field(default_factory=AlignmentParams)
    lite0_minilm: Lite0MiniLMParams = field(default_factory=Lite0MiniLMParams)
    open_clip: OpenClipParams = field(default_factory=OpenClipParams)

    def build(self) -> Encoder:
        """The chosen encoder on the chosen device."""
        return getattr(self, self.encoder).build(detect(self.device, self.precision))
