"""Joins images and captions of pairs in one space, shard by shard: no array of all pairs is held in
memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.arrays import Rows, ShardedArray
from captionseg.datasets.ids import count_shard_rows, number_pictures
from captionseg.encoders.alignment import assign_folds, cross_fit, embed_by_fold, fit
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import TextSpace
from captionseg.index_params import IndexParams
from captionseg.remarks import group_warnings
from captionseg.storage.folders import count_rows
from captionseg.storage.reading import read_array, read_table
from captionseg.storage.writing import open_array, write_array, write_table

pc: Any = compute  # its functions are made when it is imported

CAPTIONS = 16_384
"""Captions in a file of `embed_captions`: a multiple of the batches of all encoders."""


@dataclass(frozen=True)
class Embedded:
    """N pairs in one space.

    Attributes:
        space: maps images and texts to it.
        image: [N, D] embeddings of images, cross-fitted on the training split.
        text: [N, D] embeddings of captions.
        fold: [N] int32, fold of each row, -1 outside train; pairs of a picture are in the same one.
    """

    space: TextSpace
    image: Rows
    text: Rows
    fold: np.ndarray


def align(
    pairs: pa.Table, features: Path, encoder: Encoder, params: IndexParams, *, file: Path, seed: int
) -> Embedded:
    """Join image features and caption embeddings in one space.

    Args:
        pairs: N successful rows, in shard order.
        features: folder of their features; embeddings of captions are kept there, too.
        encoder: embeds captions.
        params: section `index`.
        file: for the embeddings of images, which are read as long as the result is.
        seed: seed of folds and alignments.
    """
    shards = count_shard_rows(pairs)
    text = embed_captions(encoder, pairs["caption"], features / "captions")
    pooled = ShardedArray.of_folder(features / "pooled", shards)
    fold = np.full(len(pairs), -1, np.int32)
    if encoder.aligned:
        space = TextSpace(encoder, None, None)
        image = write_rows(map(space.project_pooled, Rows(pooled).blocks()), text, file)
        return Embedded(space, image, text, fold)
    train = np.flatnonzero(pc.equal(pairs["split"], "train").to_numpy())
    x, t = Rows(pooled, train), text.select(train)
    whole = fit(x, t, params.alignment, seed=seed)
    # of single cells, trained on their means
    cells = Rows(ShardedArray.of_folder(features / "cells", shards), train)
    space = TextSpace(encoder, whole, fit(cells, t, params.alignment, seed=seed))
    shown, picture = np.unique(number_pictures(pairs)[train], return_inverse=True)
    fold[train] = assign_folds(len(shown), params.alignment.folds, seed=seed)[picture]
    fitted = {-1: whole, 0: whole}
    if params.alignment.folds > 1:
        fitted |= cross_fit(x, t, fold[train], params.alignment, seed=seed)
    starts = range(0, len(pairs), Rows.BLOCK)
    blocks = (
        embed_by_fold(block, fold[start : start + len(block)], fitted)
        for start, block in zip(starts, Rows(pooled).blocks(), strict=True)
    )
    return Embedded(space, write_rows(blocks, text, file), text, fold)


def embed_captions(encoder: Encoder, captions: pa.ChunkedArray, folder: Path) -> Rows:
    """Embed N captions, each distinct one once: [N, D].

    Embeddings are kept in the folder, in files text_NNNNN.npy of the captions in the files
    captions_NNNNN.parquet; those that are there already are not made again.

    Args:
        encoder: embeds them.
        captions: [N].
        folder: folder for the files.
    """
    known: list[pa.Array] = []
    for number in itertools.count():
        table, array = name_files(folder, number)
        if (rows := count_rows(table)) is None or rows != count_rows(array):
            break
        known += read_table(table, columns=["caption"])["caption"].chunks
    distinct, there = captions.unique(), pa.chunked_array(known, pa.string()).combine_chunks()
    fresh = distinct.filter(pc.invert(pc.is_in(distinct, value_set=there)))
    # in order of length, because batches of similar length need little padding
    lengths = pa.table({"length": pc.utf8_length(fresh), "caption": fresh})
    order = pc.sort_indices(lengths, [("length", "ascending"), ("caption", "ascending")])
    missing = fresh.take(order)
    with group_warnings():
        for start in range(0, len(missing), CAPTIONS):
            part = missing.slice(start, CAPTIONS)
            table, array = name_files(folder, number)
            table.unlink(missing_ok=True)  # its rows are others
            write_array(encoder.text(part.to_pylist()).astype(np.float32, copy=False), array)
            write_table(pa.table({"caption": part}), table)
            number += 1
    there = pa.concat_arrays([there, missing])
    row = pc.index_in(captions, value_set=there).to_numpy()
    arrays = [read_array(name_files(folder, n)[1]) for n in range(number)]
    return Rows(ShardedArray(arrays), row)


def name_files(folder: Path, number: int) -> tuple[Path, Path]:
    """The files of captions and of their embeddings with a number."""
    return folder / f"captions_{number:05d}.parquet", folder / f"text_{number:05d}.npy"


def write_rows(blocks: Iterable[np.ndarray], like: Rows, path: Path) -> Rows:
    """Write embeddings of images to a file: rows of it.

    Args:
        blocks: all rows in order.
        like: rows of the same number and width.
        path: the file.
    """
    with open_array(path, (len(like), like.width), np.float32) as append:
        for block in blocks:
            append(block)
    return Rows(read_array(path))
