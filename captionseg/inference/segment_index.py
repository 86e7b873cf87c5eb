"""Finds segments by text (USE): embeds all segments of a folder, and searches them by inner
product.

The folder of an index contains the embeddings of each shard (see `segment_embedding`) and, for all
shards, ids.parquet (row, uid, segment_id, shard), index.faiss and, written last, index.json with
the digests of code, model, features and segments, dims and count. Shards of other code, weights,
features or segments are embedded again.
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

from captionseg.code_digest import hash_code
from captionseg.encoders.encoder import normalise
from captionseg.inference.model_encoder import check_encoder
from captionseg.inference.prepared_folders import PreparedFolders
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
    """A result of a search.

    Attributes:
        rank: rank from 1.
        score: cosine of text and segment.
        segment: row of schema SEGMENTS.
    """

    rank: int
    score: float
    segment: dict[str, Any]


@dataclass(frozen=True)
class SegmentIndex:
    """An index of segments.

    Attributes:
        index: index of their embeddings.
        ids: row, uid, segment_id and shard of each; see the module's docstring.
        folder: folder of the segments.
    """

    index: Index
    ids: pa.Table
    folder: Path

    def __len__(self) -> int:
        return len(self.ids)

    def search(self, query: np.ndarray, k: int, *, min_score: float = -np.inf) -> list[Hit]:
        """Find the k best segments for a text.

        Args:
            query: [D] embedding of the text, L2-normalised.
            k: maximum number of results.
            min_score: minimum cosine.

        Returns:
            results, best first; equal scores are in row order.
        """
        score, rows = (result[0] for result in self.index.search(query[None], min(k, len(self))))
        best = [i for i in np.lexsort((rows, -score)) if rows[i] >= 0 and score[i] >= min_score]
        segments = self.segments(rows[best])
        return [
            Hit(n, float(score[i]), row)
            for n, (i, row) in enumerate(zip(best, segments, strict=True), 1)
        ]

    def segments(self, rows: np.ndarray) -> list[dict[str, Any]]:
        """Read segments, as rows of schema SEGMENTS.

        Args:
            rows: [n] rows of the index.
        """
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
    """Open the index of all segments of a folder; missing or stale parts are made first.

    Args:
        folder: folder of the index.
        segments: folder of shards of schema SEGMENTS.
        model: embeds segments.
        prepared: pictures and features.

    Raises:
        UserError: if there are no segments, or their pictures are not in the index of pictures.
    """
    shards = list_shards(segments)
    home = model.loaded.folder
    check_encoder(home, prepared.encoder)
    source = {
        "code": hash_code(),
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
    """Load the index of a folder.

    Args:
        folder: folder of the index.
        segments: folder of the segments.
        count: expected number of segments.

    Raises:
        UserError: if it cannot be read, or has another number of segments.
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
    """Write ids.parquet, index.faiss and index.json from the embeddings of all shards."""
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
    """Remove partial files of killed runs, and embeddings of shards that no longer exist."""
    for file in [*folder.glob(".*.part"), *folder.glob("embeddings_*.*")]:
        if file.suffix == ".part" or file.stem.removeprefix("embeddings_") not in shards:
            file.unlink()
