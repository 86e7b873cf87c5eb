"""The index on disk -> the Corpus that rules read: the training split, its vocabulary and its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.records import IDS, Corpus, UserError
from captionseg.storage import read_arrays, read_tables
from captionseg.text.prompts import class_embeddings, templates
from captionseg.text.vocabulary import Vocabulary


def load(index: Path, features: Path, vocabulary: Callable[[Sequence[str]], Vocabulary],
         encode: Callable[[Sequence[str]], np.ndarray], *, prompts: str = "simple") -> tuple[Corpus, Vocabulary]:
    """The training pairs of an index.

    Args:
        index: folder of the index stage.
        features: the other folder of the index stage.
        vocabulary: makes the vocabulary from the captions.
        encode: texts -> embeddings in the space of the image embeddings.
        prompts: which template set turns a concept into t_m.

    Raises:
        UserError: if there is no training pair.
    """
    ids = pq.read_table(index / "ids.parquet", schema=IDS)
    rows = np.flatnonzero(np.array(ids["split"].to_pylist()) == "train")
    if not len(rows):
        raise UserError(f"{index}: no pair of the training split; nothing to curate")
    captions = np.array(read_tables(index / "metadata", columns=["caption"])["caption"].to_pylist(), object)[rows]
    words = vocabulary(list(captions))
    local = np.full(len(ids) + 1, -1, np.int32)  # the last entry answers for -1
    local[rows] = np.arange(len(rows))
    near, near_captions = (local[neighbour_rows(index / f"{name}.parquet")[rows]]
                           for name in ("neighbours", "caption_neighbours"))
    corpus = Corpus(
        np.array(ids["uid"].to_pylist(), object)[rows], list(captions),
        read_arrays(index / "img_emb")[rows].astype(np.float32), read_arrays(features / "pooled")[rows],
        near, near_captions, words.concepts,
        class_embeddings(words.concepts, encode, templates(prompts)), words.named(list(captions)),
    )
    return corpus, words


def neighbour_rows(path: Path) -> np.ndarray:
    """[N, K] int32 rows of a neighbours table."""
    column = pq.read_table(path, columns=["neighbours"])["neighbours"]
    flat = pa.chunked_array(column).combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return flat.flatten().to_numpy().reshape(len(column), -1).astype(np.int32)


def shards_of(index: Path) -> list[tuple[str, np.ndarray]]:
    """Per shard of the training split its name and its rows in the corpus of `load`."""
    ids = pq.read_table(index / "ids.parquet", columns=["shard", "split"])
    train = np.array(ids["split"].to_pylist()) == "train"
    shard = np.array(ids["shard"].to_pylist())[train]
    return [(str(name), np.flatnonzero(shard == name)) for name in dict.fromkeys(shard)]
