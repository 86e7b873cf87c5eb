"""Reads the Rows of markers from pairs and index."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from scipy.sparse import csr_array

from captionseg.arrays import ShardedArray
from captionseg.datasets.ids import count_shard_rows, read_ids
from captionseg.datasets.pair_tables import read_pairs
from captionseg.marking.marker import Rows
from captionseg.records import UserError

pc: Any = compute  # its functions are made when it is imported


def read_indexed_pairs(pairs: Path, index: Path) -> pa.Table:
    """The pairs of an index: N successful rows of PAIRS with a column `shard`, in its order.

    Args:
        pairs: img2dataset shards.
        index: folder of the index stage.

    Raises:
        UserError: if the pairs are others than those of the index.
    """
    table, ids = read_pairs(pairs), read_ids(index)
    if not table.select(["uid", "split"]).equals(ids.select(["uid", "split"])):
        raise UserError(
            f"{pairs}: of other pairs than {index / 'ids.parquet'}; run `dvc repro index`"
        )
    return table


def load_rows(table: pa.Table, features: Path) -> Rows:
    """All pairs of an index, without their concepts.

    Args:
        table: of `read_indexed_pairs`.
        features: folder of the index stage with `descriptor/`.
    """
    shards = count_shard_rows(table)
    return make_rows(table, ShardedArray.of_folder(features / "descriptor", shards, packed=True))


def make_rows(table: pa.Table, descriptor: ShardedArray | np.ndarray) -> Rows:
    """Rows of successful pairs of PAIRS.

    Args:
        table: N of them.
        descriptor: [N, R].
    """
    text = {
        name: pc.fill_null(table[name], "").combine_chunks()
        for name in ("uid", "url", "split", "caption", "sha256", "original_sha256", "phash")
    }
    address = pc.if_else(pc.equal(text["url"], ""), text["uid"], text["url"])
    original = text["original_sha256"]
    original = pc.if_else(pc.equal(original, ""), text["sha256"], original)
    width, height = (
        pc.coalesce(table[f"original_{side}"], table[side], pa.scalar(0, pa.int32())).to_numpy()
        for side in ("width", "height")
    )
    phash, hashed = read_hashes(text["phash"])
    return Rows(
        uid=text["uid"].to_numpy(zero_copy_only=False),
        caption=text["caption"],
        split=text["split"].to_numpy(zero_copy_only=False),
        picture=number_texts(pc.binary_join_element_wise(text["split"], address, " ")),
        digest=np.where(
            pc.equal(original, "").to_numpy(zero_copy_only=False), -1, number_texts(original)
        ),
        phash=phash,
        hashed=hashed,
        width=width,
        height=height,
        descriptor=descriptor,
    )


def number_texts(texts: pa.StringArray) -> np.ndarray:
    """Number texts, [N] int64: equal numbers for equal texts."""
    return texts.dictionary_encode().indices.to_numpy().astype(np.int64)


def read_hashes(texts: pa.StringArray) -> tuple[np.ndarray, np.ndarray]:
    """Parse hashes of 16 hex digits: [N] uint64, and [N] bool, whether a text is one."""
    hashed = pc.match_substring_regex(texts, "^[0-9a-f]{16}$").to_numpy(zero_copy_only=False)
    whole = "".join(t if ok else "0" * 16 for t, ok in zip(texts.to_pylist(), hashed, strict=True))
    return np.frombuffer(bytes.fromhex(whole), ">u8").astype(np.uint64), hashed


def with_concepts(rows: Rows, named: csr_array, vocabulary: Sequence[str]) -> Rows:
    """Add the concepts that the captions of training pairs name.

    Args:
        rows: N pairs.
        named: [T, C] bool of the training pairs, in order.
        vocabulary: [C].
    """
    train, matches = np.flatnonzero(~rows.held_out), named.tocoo()
    shape = (len(rows), len(vocabulary))
    wide = csr_array((matches.data, (train[matches.row], matches.col)), shape=shape)
    return dataclasses.replace(rows, named=wide, vocabulary=vocabulary)
