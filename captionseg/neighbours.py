"""The searchable indexes of a corpus, and the neighbours of its rows, with their recall."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from captionseg.datasets.ids import number_pictures
from captionseg.encoders.encoder import normalise
from captionseg.index_params import IndexParams
from captionseg.records import IDS, NEIGHBOURS, RECALL, UserError
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Effort, Index, neighbours, recall
from captionseg.retrieval.indexes import INDEXES
from captionseg.storage.folders import read_arrays
from captionseg.storage.writing import write_array, write_json, write_table

log = logging.getLogger(__name__)


def write_index(
    pairs: pa.Table, embedding: np.ndarray, text: np.ndarray, fold: np.ndarray, index: Path
) -> None:
    """img_emb, text_emb, metadata, ids.parquet: one file of each a shard, as clip-retrieval names
    them.
    """
    shard = np.array(pairs["shard"].to_pylist())
    for number, name in enumerate(dict.fromkeys(shard)):
        rows = shard == name
        write_array(
            normalise(embedding[rows]).astype(np.float16),
            index / "img_emb" / f"img_emb_{number:05d}.npy",
        )
        write_array(
            normalise(text[rows]).astype(np.float16),
            index / "text_emb" / f"text_emb_{number:05d}.npy",
        )
        part = pairs.filter(pa.array(rows))
        metadata = {"image_path": part["key"], **{n: part[n] for n in ("caption", "url", "uid")}}
        write_table(pa.table(metadata), index / "metadata" / f"metadata_{number:05d}.parquet")
    ids = [
        pa.array(np.arange(len(pairs))),
        pairs["uid"],
        pairs["shard"],
        pairs["key"],
        pairs["split"],
        pa.array(fold),
    ]
    write_table(
        pa.table(
            [
                column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
                for column in ids
            ],
            schema=IDS,
        ),
        index / "ids.parquet",
    )


def check_recall(
    name: str, index: Index, vectors: np.ndarray, queries: np.ndarray, k: int, params: IndexParams
) -> dict[str, float]:
    """Return the recall of an index over `vectors`, by name; empty if it is exact.

    Raises:
        UserError: if it is below `minimum_recall`.
    """
    if index.exact:
        return {}
    share = recall(index, vectors, queries, k)
    if share < params.minimum_recall:
        raise UserError(
            f"{name}: the index finds {share:.3f} of the {min(k, len(vectors))} nearest of "
            f"{len(vectors)} rows, less than index.minimum_recall ({params.minimum_recall:g}); "
            f"raise index.ef_search (HNSW; default {max(64, 2 * k)}) or index.nprobe (IVF), or use "
            "index.faiss_key: Flat, which is exact"
        )
    return {f"{name}_recall": share}


def write_neighbours(
    name: str,
    pairs: pa.Table,
    queries: np.ndarray,
    vectors: np.ndarray,
    k: int,
    params: IndexParams,
    index: Path,
) -> dict[str, float]:
    """Write NAME.parquet: for every row of `queries` the most similar training rows of `vectors`
    with other pictures.

    Returns:
        the recall of the search, see `check_recall`.
    """
    train = np.flatnonzero(np.array(pairs["split"].to_pylist()) == "train")
    search = INDEXES[params.backend](
        vectors[train], params.faiss_key, Effort(params.ef_search, params.nprobe)
    )
    picture = number_pictures(pairs)
    most = int(np.bincount(picture[train]).max())  # pairs of one picture
    if k > len(train) - most:
        log.warning(
            "index.%s: %d is more than the %d training pairs of other pictures",
            name,
            k,
            len(train) - most,
        )
    measures = check_recall(name, search, vectors[train], queries, k + most, params)
    near, similarity = neighbours(
        search, train, queries, min(k, max(1, len(train) - 1)), picture=picture
    )
    columns = [
        pa.array(np.arange(len(pairs)), pa.int64()),
        pa.array(list(near), NEIGHBOURS.field(1).type),
        pa.array(list(similarity), NEIGHBOURS.field(2).type),
    ]
    write_table(pa.table(columns, schema=NEIGHBOURS), index / f"{name}.parquet")
    return measures


def write_searches(
    pairs: pa.Table,
    embedding: np.ndarray,
    text: np.ndarray,
    *,
    params: IndexParams,
    features: Path,
    index: Path,
) -> dict[str, float]:
    """Indexes of images and texts, and the neighbours of every pair by picture and by caption.

    Args:
        pairs: successful rows.
        embedding: [N, D] of their images.
        text: [N, D] of their captions.
        params: section `index`.
        features: with the descriptors of all pictures.
        index: out.

    Returns:
        what each search recalls, see `check_recall`; also in a file where one is not exact.
    """
    measures: dict[str, float] = {}
    for name, vectors in (("image", normalise(embedding)), ("text", normalise(text))):
        search = FaissIndex(vectors, params.faiss_key, Effort(params.ef_search, params.nprobe))
        measures |= check_recall(name, search, vectors, vectors, params.neighbours, params)
        search.save(index / f"{name}.index")
    shards = Counter(pairs["shard"].to_pylist())
    descriptor = read_arrays(features / "descriptor", shards).astype(np.float32)
    measures |= write_neighbours(
        "neighbours", pairs, descriptor, descriptor, params.neighbours, params, index
    )
    measures |= write_neighbours(
        "caption_neighbours", pairs, embedding, text, params.caption_neighbours, params, index
    )
    if measures:
        write_json(measures, index / RECALL)
    return measures
