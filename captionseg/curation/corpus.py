"""Reads the Corpus of rules from the index: the training pairs, their vocabulary and neighbours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Int32
from pyarrow import compute

from captionseg.arrays import SelectedRows, ShardedArray, Texts
from captionseg.datasets.ids import count_shard_rows, number_shards, read_ids, read_metadata
from captionseg.encoders.text_space import load_sigmoid
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
    corpus = Corpus(
        uid=Texts(ids["uid"].filter(is_train).combine_chunks()),
        caption=Texts(captions),
        vocabulary=built.concepts,
        concept_embedding=embed_classes(built.concepts, encode, read_templates(prompts)),
        named=match_corpus(built, read, runtime),
        **map_rows(index, features, of_shards, rows, local),
    )
    return corpus, built


def map_rows(
    index: Path,
    features: Path,
    shards: Mapping[str, int],
    rows: Int[np.ndarray, " T"],
    numbers: Int32[np.ndarray, " M"],
) -> dict[str, Any]:
    """The arrays of a corpus that stay on disk, and what the encoder has learnt beside them.

    Args:
        index: see `load`.
        features: see `load`.
        shards: of the index -> their numbers of rows.
        rows: of the index that are in the corpus.
        numbers: M = N + 1, of these rows in the corpus, by row of the index, -1 for others and at
            the end.
    """
    int32 = np.dtype(np.int32)
    embedding = ShardedArray(map_arrays(index / "img_emb", number_shards(shards)))
    pooled = ShardedArray(map_arrays(features / "pooled", shards))
    return {
        "image_embedding": SelectedRows(embedding, rows, np.dtype(np.float32)),
        "image_feature": SelectedRows(pooled, rows, pooled.dtype),
        "sigmoid": load_sigmoid(features / "encoder"),
    } | {
        name: SelectedRows(read_neighbours(index / file, len(numbers) - 1), rows, int32, numbers)
        for name, file in (("neighbours", NEIGHBOURS), ("caption_neighbours", CAPTION_NEIGHBOURS))
    }


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
