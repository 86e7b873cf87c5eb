"""The searchable indexes of a corpus, and the neighbours of its rows, with their recall."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.arrays import Rows, ShardedArray
from captionseg.datasets.ids import count_shard_rows, number_pictures
from captionseg.encoders.encoder import normalise
from captionseg.index_params import IndexParams
from captionseg.records import IDS, RECALL, SIMILARITIES, UserError
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Index, find_neighbours, recall
from captionseg.storage.writing import open_array, write_json, write_table

pc: Any = compute  # its functions are made when it is imported
log = logging.getLogger(__name__)


def write_index(pairs: pa.Table, image: Rows, text: Rows, fold: np.ndarray, index: Path) -> None:
    """img_emb, text_emb, metadata, ids.parquet: one file of each a shard, as clip-retrieval names
    them.

    Args:
        pairs: N successful rows, in shard order.
        image: [N, D] embeddings of their images.
        text: [N, D] embeddings of their captions.
        fold: [N], see IDS.
        index: out.
    """
    start = 0
    for number, count in enumerate(count_shard_rows(pairs).values()):
        rows, part = np.arange(start, start + count), pairs.slice(start, count)
        for name, embedding in (("img_emb", image), ("text_emb", text)):
            path = index / name / f"{name}_{number:05d}.npy"
            with open_array(path, (count, embedding.width), np.float16) as append:
                for block in embedding.select(rows).blocks():
                    append(normalise(block))
        metadata = {"image_path": part["key"], **{n: part[n] for n in ("caption", "url", "uid")}}
        write_table(pa.table(metadata), index / "metadata" / f"metadata_{number:05d}.parquet")
        start += count
    row = pa.array(np.arange(len(pairs)))
    columns = [row, *(pairs[name].combine_chunks() for name in IDS.names[1:5]), pa.array(fold)]
    write_table(pa.table(columns, schema=IDS), index / "ids.parquet")


def check_recall(
    name: str, index: Index, vectors: Rows, queries: Rows, k: int, params: IndexParams
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
            f"raise index.ef_search (HNSW; default {max(64, 2 * k)}) or index.nprobe (IVF), or "
            "index.memory if vectors are compressed (SQ8, PQ), or use index.faiss_key: Flat, which "
            "is exact"
        )
    return {f"{name}_recall": share}


def write_neighbours(
    name: str,
    pairs: pa.Table,
    queries: Rows,
    vectors: Rows,
    k: int,
    params: IndexParams,
    index: Path,
) -> dict[str, float]:
    """Write NAME.npy: for every row of `queries` the most similar training rows of `vectors` with
    other pictures; and SIMILARITIES for those of `neighbours`.

    Returns:
        the recall of the search, see `check_recall`.
    """
    train = np.flatnonzero(pc.equal(pairs["split"], "train").to_numpy())
    search = params.build_search(vectors.select(train))
    picture = number_pictures(pairs)
    most = int(np.bincount(picture[train]).max())  # pairs of one picture
    if k > len(train) - most:
        log.warning(
            "index.%s: %d is more than the %d training pairs of other pictures",
            name,
            k,
            len(train) - most,
        )
    measures = check_recall(name, search, vectors.select(train), queries, k + most, params)
    shape = len(pairs), min(k, max(1, len(train) - 1))
    with ExitStack() as stack:
        add_near = stack.enter_context(open_array(index / f"{name}.npy", shape, np.int32))
        add_similarity = (
            stack.enter_context(open_array(index / SIMILARITIES, shape, np.float16))
            if name == "neighbours"
            else None
        )
        for near, similarity in find_neighbours(search, train, queries, shape[1], picture=picture):
            add_near(near)
            if add_similarity:
                add_similarity(similarity)
    return measures


def write_searches(
    pairs: pa.Table, image: Rows, text: Rows, *, params: IndexParams, features: Path, index: Path
) -> dict[str, float]:
    """Indexes of images and texts, and the neighbours of every pair by picture and by caption.

    Args:
        pairs: successful rows.
        image: [N, D] embeddings of their images.
        text: [N, D] embeddings of their captions.
        params: section `index`.
        features: with the descriptors of all pictures.
        index: out.

    Returns:
        what each search recalls, see `check_recall`; also in a file where one is not exact.
    """
    measures: dict[str, float] = {}
    for name, vectors in (("image", image.map(normalise)), ("text", text.map(normalise))):
        search = FaissIndex(vectors, params.faiss_key, params.effort, memory=params.memory)
        measures |= check_recall(name, search, vectors, vectors, params.neighbours, params)
        search.save(index / f"{name}.index")
        del search  # before the next one needs the memory
    shards = count_shard_rows(pairs)
    descriptor = Rows(ShardedArray.of_folder(features / "descriptor", shards, packed=True))
    measures |= write_neighbours(
        "neighbours", pairs, descriptor, descriptor, params.neighbours, params, index
    )
    measures |= write_neighbours(
        "caption_neighbours", pairs, image, text, params.caption_neighbours, params, index
    )
    if measures:
        write_json(measures, index / RECALL)
    return measures
