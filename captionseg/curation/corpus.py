"""Reads the Corpus of rules from the index: the training pairs, their vocabulary and neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Int32
from scipy.sparse import csr_array

from captionseg.datasets.ids import count_shard_rows, number_shards, read_ids, read_metadata
from captionseg.records import CAPTION_NEIGHBOURS, NEIGHBOURS, Corpus, UserError
from captionseg.storage.folders import read_arrays
from captionseg.storage.reading import read_array, read_json
from captionseg.storage.writing import write_array, write_json
from captionseg.text.prompts import embed_classes, read_templates
from captionseg.text.vocabulary import Vocabulary

ARRAYS = (
    "image_embedding",
    "image_feature",
    "neighbours",
    "caption_neighbours",
    "concept_embedding",
)
SPARSE = ("data", "indices", "indptr")


def load(
    index: Path,
    features: Path,
    vocabulary: Callable[[Sequence[str]], Vocabulary],
    encode: Callable[[Sequence[str]], np.ndarray],
    *,
    prompts: str = "simple",
    unread: np.ndarray | None = None,
) -> tuple[Corpus, Vocabulary]:
    """The training pairs of an index.

    Args:
        index: folder of the index stage.
        features: folder of the index stage with frozen features.
        vocabulary: makes the vocabulary from the captions.
        encode: texts -> embeddings in the space of the image embeddings.
        prompts: which template set turns a concept into t_m.
        unread: [T] bool, captions of training pairs to ignore; None ignores none.

    Raises:
        UserError: if there is no training pair.
    """
    ids = read_ids(index)
    of_shards = count_shard_rows(ids)
    rows = np.flatnonzero(np.array(ids["split"].to_pylist()) == "train")
    if not len(rows):
        raise UserError(f"{index}: no pair of the training split; nothing to curate")
    captions = np.array(read_metadata(index, ids)["caption"].to_pylist(), object)[rows]
    read = captions if unread is None else np.where(unread, "", captions)
    built = vocabulary(list(read))
    local = np.full(len(ids) + 1, -1, np.int32)  # the last entry answers for -1
    local[rows] = np.arange(len(rows))
    near, near_captions = (
        local[read_neighbours(index / name, len(ids))[rows]]
        for name in (NEIGHBOURS, CAPTION_NEIGHBOURS)
    )
    corpus = Corpus(
        np.array(ids["uid"].to_pylist(), object)[rows],
        list(captions),
        read_arrays(index / "img_emb", number_shards(of_shards))[rows].astype(np.float32),
        read_arrays(features / "pooled", of_shards)[rows],
        near,
        near_captions,
        built.concepts,
        embed_classes(built.concepts, encode, read_templates(prompts)),
        built.match_captions(list(read)),
    )
    return corpus, built


def read_neighbours(path: Path, count: int) -> Int32[np.ndarray, "N K"]:
    """Neighbours of the rows of an index of `count` rows, memory-mapped.

    Raises:
        UserError: if they are of another index.
    """
    near = read_array(path)
    if (
        near.ndim != 2
        or near.dtype != np.int32
        or len(near) != count
        or (near.size and not -1 <= near.min() <= near.max() < count)
    ):
        raise UserError(
            f"{path}: not the neighbours of an index of {count} rows; run `dvc repro index`"
        )
    return near


def list_shards(index: Path) -> list[tuple[str, Int[np.ndarray, " n"]]]:
    """Name of each shard with training pairs, and the rows of these in the corpus of `load`."""
    ids = read_ids(index)
    train = np.array(ids["split"].to_pylist()) == "train"
    shard = np.array(ids["shard"].to_pylist())[train]
    return [(str(name), np.flatnonzero(shard == name)) for name in dict.fromkeys(shard)]


def save(corpus: Corpus, folder: Path) -> None:
    """Write a corpus to files, for `open_saved` in other processes."""
    for name in ARRAYS:
        write_array(getattr(corpus, name), folder / f"{name}.npy")
    for name in SPARSE:
        write_array(getattr(corpus.named, name), folder / f"named_{name}.npy")
    texts = {
        "uid": list(corpus.uid),
        "caption": list(corpus.caption),
        "vocabulary": list(corpus.vocabulary),
    }
    write_json(texts, folder / "texts.json")


def open_saved(folder: Path) -> Corpus:
    """Open a corpus that `save` wrote; its arrays are memory-mapped."""
    arrays = {
        name: read_array(folder / f"{name}.npy")
        for name in (*ARRAYS, *(f"named_{part}" for part in SPARSE))
    }
    texts = read_json(folder / "texts.json")
    shape = len(texts["uid"]), len(texts["vocabulary"])
    named = csr_array(tuple(arrays[f"named_{name}"] for name in SPARSE), shape=shape)
    return Corpus(
        uid=np.array(texts["uid"], object),
        caption=texts["caption"],
        vocabulary=texts["vocabulary"],
        named=named,
        **{name: arrays[name] for name in ARRAYS},
    )
