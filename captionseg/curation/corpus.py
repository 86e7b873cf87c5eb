"""Reads the Corpus of rules from the index: the training pairs, their vocabulary and neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int32
from pyarrow import compute

from captionseg.arrays import SelectedRows, ShardedArray, Texts
from captionseg.datasets.ids import count_shard_rows, number_shards, read_ids, read_metadata
from captionseg.records import CAPTION_NEIGHBOURS, NEIGHBOURS, Corpus, UserError
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.folders import map_arrays
from captionseg.storage.reading import read_array
from captionseg.text.matching import match_corpus
from captionseg.text.prompts import embed_classes, read_templates
from captionseg.text.vocabulary import Vocabulary

pc: Any = compute  # its functions are made when it is imported

CHUNK = 65_536  # rows at once


class Shard(NamedTuple):
    """The training pairs of a shard: rows `start` to `end` - 1 of the corpus."""

    name: str
    start: int
    end: int


def load(
    index: Path,
    features: Path,
    vocabulary: Callable[[pa.StringArray], Vocabulary],
    encode: Callable[[Sequence[str]], np.ndarray],
    *,
    prompts: str = "simple",
    unread: np.ndarray | None = None,
    runtime: RuntimeParams = HERE,
) -> tuple[Corpus, Vocabulary]:
    """The training pairs of an index; its arrays stay on disk.

    Args:
        index: folder of the index stage.
        features: folder of the index stage with frozen features.
        vocabulary: makes the vocabulary from the captions.
        encode: texts -> embeddings in the space of the image embeddings.
        prompts: which template set turns a concept into t_m.
        unread: [T] bool, captions of training pairs to ignore; None ignores none.
        runtime: what captions are spread over.

    Raises:
        UserError: if there is no training pair.
    """
    ids = read_ids(index)
    of_shards = count_shard_rows(ids)
    is_train = pc.equal(ids["split"], "train")
    rows = np.flatnonzero(is_train.to_numpy())
    if not len(rows):
        raise UserError(f"{index}: no pair of the training split; nothing to curate")
    captions = read_metadata(index, ids)["caption"].filter(is_train).combine_chunks()
    read = captions if unread is None else pc.if_else(pa.array(unread), "", captions)
    built = vocabulary(read)
    local = np.full(len(ids) + 1, -1, np.int32)  # the last entry answers for -1
    local[rows] = np.arange(len(rows))
    near, near_captions = (
        SelectedRows(read_neighbours(index / name, len(ids)), rows, np.dtype(np.int32), local)
        for name in (NEIGHBOURS, CAPTION_NEIGHBOURS)
    )
    embedding = ShardedArray(map_arrays(index / "img_emb", number_shards(of_shards)))
    pooled = ShardedArray(map_arrays(features / "pooled", of_shards))
    corpus = Corpus(
        Texts(ids["uid"].filter(is_train).combine_chunks()),
        Texts(captions),
        SelectedRows(embedding, rows, np.dtype(np.float32)),
        SelectedRows(pooled, rows, pooled.dtype),
        near,
        near_captions,
        built.concepts,
        embed_classes(built.concepts, encode, read_templates(prompts)),
        match_corpus(built, read, runtime),
    )
    return corpus, built


def read_neighbours(path: Path, count: int) -> Int32[np.ndarray, "N K"]:
    """Neighbours of the rows of an index of `count` rows, most similar first, memory-mapped.

    Raises:
        UserError: if they are of another index.
    """
    near = read_array(path)
    chunks = (near[start : start + CHUNK] for start in range(0, len(near), CHUNK))
    if (
        near.ndim != 2
        or near.dtype != np.int32
        or len(near) != count
        or any(part.size and not -1 <= part.min() <= part.max() < count for part in chunks)
    ):
        raise UserError(
            f"{path}: not the neighbours of an index of {count} rows; run `dvc repro index`"
        )
    return near


def list_shards(index: Path) -> list[Shard]:
    """The shards with training pairs, in the order of the corpus of `load`."""
    ids = read_ids(index)
    counts = ids["shard"].filter(pc.equal(ids["split"], "train")).value_counts()
    ends = np.cumsum(counts.field("counts").to_numpy()).tolist()  # rows of a shard stand together
    names = counts.field("values").to_pylist()
    return [Shard(*span) for span in zip(names, [0, *ends[:-1]], ends, strict=True)]
