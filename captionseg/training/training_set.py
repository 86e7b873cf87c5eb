"""The data that a recipe trains on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from captionseg.arrays import RaggedArray, ShardedArray
from captionseg.datasets.random_access import Pictures
from captionseg.encoders.text_space import TextSpace
from captionseg.modeling.segmenter import InputSpec
from captionseg.segmenters.region_files import RegionFeatures
from captionseg.text.vocabulary import Vocabulary
from captionseg.training.segment_set import SegmentSet


@dataclass(frozen=True)
class Sentences:
    """Texts of a training set of N pairs, for models that read tokens.

    Attributes:
        captions: [N].
        masked: [N] captions with their entities masked; None if the model does not read them.
        vocabulary: the concepts, for models that read which words of captions name them; else None.
    """

    captions: Sequence[str]
    masked: Sequence[str] | None = None
    vocabulary: Vocabulary | None = None


Lists = np.ndarray | RaggedArray
"""Rows of one width; of the supervision memory-mapped."""


@dataclass(frozen=True)
class TrainingSet:
    """The N training pairs of a recipe that its rule kept, with C concepts in all.

    What grows with the pairs is on disk and read by row, except for `count`. Fields of the second
    half are None if the model does not read them.

    Attributes:
        rows: [N] rows of the index.
        regions: [index rows, S, F] pooled features of regions, padded.
        count: [index rows] number of regions.
        caption_embedding: [index rows, D] fp16 frozen embeddings of the captions.
        concepts: [C] names.
        concept_embedding: [C, D] frozen embeddings of the prompted concepts.
        texts: [N, M] concepts that may be drawn, -1 pads.
        weight: [N, M] their unnormalised probabilities.
        cluster: [N, M] their clusters.
        archive: [N, M'] concepts that are no negatives of the image, -1 pads.
        named: [N, K] concepts that the caption names, -1 pads.
        masked: [N, D] frozen embeddings of the masked captions.
        masked_target: [N, K'] concepts behind the masks, in order, -1 pads.
        dense: [index rows, gh, gw, F] frozen dense features.
        pictures: pictures of the index's rows.
        segments: segments with texts.
        space: the frozen encoder; None if only its stored outputs are read.
        sentences: captions as text; None for models that read embeddings.
        shards: [number of shards + 1] first row of each shard of the index, and the number of rows.
        reads: what the model reads.
    """

    rows: np.ndarray
    regions: RegionFeatures
    count: np.ndarray
    caption_embedding: np.ndarray | ShardedArray
    concepts: list[str]
    concept_embedding: np.ndarray
    texts: Lists
    weight: Lists
    cluster: Lists
    archive: Lists
    named: Lists
    masked: np.ndarray | None = None
    masked_target: Lists | None = None
    dense: ShardedArray | None = None
    pictures: Pictures | None = None
    segments: SegmentSet | None = None
    space: TextSpace | None = None
    sentences: Sentences | None = None
    shards: np.ndarray | None = None
    reads: InputSpec = field(default_factory=InputSpec)

    def __len__(self) -> int:
        return len(self.rows)
