"""Segments by text: all segments of a folder, embedded by a trained model and searched by inner
product (USE).

The folder of an index holds the embeddings of each shard (see `segment_embedding`) and, over all of
them, ids.parquet (row, uid, segment_id, shard), index.faiss and, written last, index.json with the
digests of what they were made of, dims and count. What was made of other weights, features or
segments is made anew, shard by shard.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from captionseg.encoders.encoder import normalise
from captionseg.inference.inputs import PreparedFolders
from captionseg.inference.model_encoder import check_encoder
from captionseg.inference.segment_embedding import (
    SegmentShard,
    embed_shards,
    holds_value,
    list_shards,
)
from captionseg.inference.segment_model import SegmentModel
from captionseg.records import SEGMENTS, UserError
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Index
from captionseg.storage.folders import hash_files
from captionseg.storage.reading import read_array, read_table
from captionseg.storage.writing import write_json, write_table

log = logging.getLogger(__name__)
IDS = pa.schema(
    [("row", pa.int64()), ("uid", pa.string()), ("segment_id", pa.string()), ("shard", pa.string())]
)


@dataclass(frozen=True)
class Hit:
    """A segment that was found.

    Attributes:
        rank: from 1.
        score: cosine of text and segment.
        segment: its row of schema SEGMENTS.
    """

    rank: int
    score: float
    segment: dict[str, Any]


@dataclass(frozen=True)
class SegmentIndex:
    """Segments that can be searched.

    Attributes:
        index: of their embeddings.
        ids: row, uid, segment_id and shard of each; see the module's docstring.
        folder: of the segments.
    """

    index: Index
    ids: pa.Table
    folder: Path

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, query: np.ndarray, k: int, *, min_score: float = -np.inf) -> list[Hit]:
        """The k best segments for an embedded text [D], best first, equal scores in row order; none
        below min_score.
        """
        score, rows = (result[0] for result in self.index.search(query[None], min(k, len(self))))
        best = [i for i in np.lexsort((rows, -score)) if rows[i] >= 0 and score[i] >= min_score]
        segments = self.segments(rows[best])
        return [
            Hit(n, float(score[i]), row)
            for n, (i, row) in enumerate(zip(best, segments, strict=True), 1)
        ]

    def segments(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Rows of schema SEGMENTS."""
        names, first = np.unique(
            self.ids["shard"].to_numpy(zero_copy_only=False), return_index=True
        )
        start = dict(zip(names, first.tolist(), strict=True))
        tables = functools.cache(
            lambda shard: read_table(self.folder / f"{shard}.parquet", schema=SEGMENTS)
        )
        shards = (self.ids["shard"][int(row)].as_py() for row in rows)
        return [
            tables(s).slice(int(row) - start[s], 1).to_pylist()[0]
            for s, row in zip(shards, rows, strict=True)
        ]


def open_index(
    folder: Path, segments: Path, model: SegmentModel, prepared: PreparedFolders
) -> SegmentIndex:
    """The index of all segments of a folder; what is missing of it or stale is made first.

    Args:
        folder: of the index.
        segments: shards of schema SEGMENTS.
        model: that embeds them.
        prepared: their pictures, as earlier stages left them.

    Raises:
        UserError: if there are no segments, or their pictures are not in the index of pictures.
    """
    shards = list_shards(segments)
    home = model.loaded.folder
    check_encoder(home, prepared.encoder)
    source = {
        "model": hash_files([home / "model.safetensors", home / "config.json"]),
        "features": hash_files(
            [prepared.index / "ids.parquet", *sorted(prepared.encoder.glob("*.*"))]
        ),
    }
    made_of = {shard.name: {**source, "segments": hash_files([shard.file])} for shard in shards}
    state = {
        **source,
        "segments": {shard: made["segments"] for shard, made in made_of.items()},
        "count": sum(shard.count for shard in shards),
        "dims": model.dims,
    }
    if holds_value(folder / "index.json", state):
        try:
            return load_index(folder, segments, count=state["count"])
        except UserError as error:
            log.warning("%s; it is put together again", error)
    remove_leftovers(folder, set(made_of))
    embed_shards(folder, shards, made_of, model, prepared)
    assemble(folder, shards, state)
    return load_index(folder, segments, count=state["count"])


def load_index(folder: Path, segments: Path, *, count: int) -> SegmentIndex:
    """The index that a folder holds.

    Raises:
        UserError: if it cannot be read, or is of more or fewer segments.
    """
    ids, index = (
        read_table(folder / "ids.parquet", schema=IDS),
        FaissIndex.load(folder / "index.faiss"),
    )
    if not len(ids) == index.index.ntotal == count:
        raise UserError(
            f"{folder}: {index.index.ntotal} embeddings and {len(ids)} ids for {count} segments; "
            "delete it to build it again"
        )
    return SegmentIndex(index, ids, segments)


def assemble(folder: Path, shards: Sequence[SegmentShard], state: dict[str, Any]) -> None:
    """ids.parquet, index.faiss and index.json out of the embeddings of all shards."""
    (folder / "index.json").unlink(missing_ok=True)
    tables = [
        read_table(shard.file, schema=SEGMENTS, columns=["uid", "segment_id"]) for shard in shards
    ]
    names = np.repeat([shard.name for shard in shards], [len(table) for table in tables])
    ids = pa.concat_tables(tables)
    columns = [np.arange(len(ids)), ids["uid"], ids["segment_id"], names.tolist()]
    write_table(pa.table(columns, schema=IDS), folder / "ids.parquet")
    parts = [
        read_array(
            folder / f"embeddings_{shard.name}.npy",
            rows=len(table),
            todo="delete it, it is made again",
        )
        for shard, table in zip(shards, tables, strict=True)
    ]
    FaissIndex(normalise(np.concatenate(parts))).save(folder / "index.faiss")
    write_json(state, folder / "index.json")


def remove_leftovers(folder: Path, shards: set[str]) -> None:
    """Remove what a killed run left half written, and embeddings of shards that are no more."""
    for file in [*folder.glob(".*.part"), *folder.glob("embeddings_*.*")]:
        if file.suffix == ".part" or file.stem.removeprefix("embeddings_") not in shards:
            file.unlink()
