"""The searchable indexes of a corpus, and the neighbours of its rows, with their recall."""

from __future__ import annotations

import functools
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from tqdm import tqdm

from captionseg.arrays import Rows, ShardedArray
from captionseg.datasets.ids import count_shard_rows, number_pictures
from captionseg.encoders.encoder import normalise
from captionseg.index_params import IndexParams
from captionseg.records import IDS, RECALL, SIMILARITIES, UserError
from captionseg.retrieval.blocks import INDEX, Searched, search_blocks
from captionseg.retrieval.faiss import FaissIndex
from captionseg.retrieval.index import Index, StoredIndex, count_copies, recall
from captionseg.runtime.fan_out import PerProcess
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.reading import read_array
from captionseg.storage.writing import open_array, write_json, write_table

pc: Any = compute  # its functions are made when it is imported
log = logging.getLogger(__name__)

SEARCHES = ".searches"
"""Folder in that of the index for blocks of searches that have not ended."""


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


def open_search(vectors: Rows, params: IndexParams, folder: Path) -> StoredIndex:
    """Build an index of vectors, or load the one that a killed run of this search has saved.

    One that is not exact is always saved: a graph differs each time that it is built.
    """
    if (file := folder / INDEX).exists():
        return params.load_search(file, shared=False)
    search = params.build_search(vectors)
    if not search.exact:
        search.save(file)
    return search


def write_neighbours(
    name: str,
    pairs: pa.Table,
    *,
    queries: PerProcess[Rows],
    vectors: Rows,
    k: int,
    params: IndexParams,
    index: Path,
    runtime: RuntimeParams = HERE,
) -> dict[str, float]:
    """Write NAME.npy: for every row of `queries` the most similar training rows of `vectors` with
    other pictures; and SIMILARITIES for those of `neighbours`.

    Returns:
        the recall of the search, see `check_recall`.
    """
    folder, rows = index / SEARCHES / name, queries()
    train = np.flatnonzero(pc.equal(pairs["split"], "train").to_numpy())
    picture = number_pictures(pairs)
    copies = count_copies(picture[train])
    if k > (most := len(train) - copies):
        log.warning(
            "index.%s: %d is more than the %d training pairs of other pictures", name, k, most
        )
    search = open_search(vectors.select(train), params, folder)
    measures = check_recall(name, search, vectors.select(train), rows, k + copies, params)
    shape, similar = (len(pairs), min(k, max(1, len(train) - 1))), name == "neighbours"
    files = [(index / f"{name}.npy", np.int32), *([(index / SIMILARITIES, np.float16)] * similar)]
    found = search_blocks(
        Searched(search, train, picture, copies),
        queries,
        shape[1],
        load=functools.partial(params.load_search, shared=True),
        folder=folder,
        similarities=similar,
        runtime=runtime,
    )
    write_blocks(found, files, shape, name)
    return measures


def write_blocks(
    blocks: Iterable[Sequence[np.ndarray]],
    files: Sequence[tuple[Path, type]],
    shape: tuple[int, int],
    name: str,
) -> None:
    """Write arrays of one shape a block of rows at a time.

    Args:
        blocks: the next rows of each array.
        files: path and type of each array.
        shape: of all of them.
        name: of the bar that shows how far it is.
    """
    with ExitStack() as stack, tqdm(total=shape[0], desc=name, unit="row") as bar:
        append = [stack.enter_context(open_array(path, shape, kind)) for path, kind in files]
        for block in blocks:
            for add, part in zip(append, block, strict=True):
                add(part)
            bar.update(len(block[0]))


def open_descriptors(features: Path, shards: Mapping[str, int]) -> Rows:
    """Map the descriptors of all pictures, in the order of their shards."""
    return Rows(ShardedArray.of_folder(features / "descriptor", shards, packed=True))


def open_embeddings(path: Path) -> Rows:
    """Map the embeddings of all pictures."""
    return Rows(read_array(path))


def write_searches(
    pairs: pa.Table,
    image: Path,
    text: Rows,
    *,
    params: IndexParams,
    features: Path,
    index: Path,
    runtime: RuntimeParams = HERE,
) -> dict[str, float]:
    """Indexes of images and texts, and the neighbours of every pair by picture and by caption.

    Args:
        pairs: successful rows.
        image: file with the [N, D] embeddings of their images.
        text: [N, D] embeddings of their captions.
        params: section `index`.
        features: with the descriptors of all pictures.
        index: out.
        runtime: what blocks of queries are spread over.

    Returns:
        what each search recalls, see `check_recall`; also in a file where one is not exact.
    """
    measures: dict[str, float] = {}
    embedded = PerProcess(functools.partial(open_embeddings, image))
    described = PerProcess(functools.partial(open_descriptors, features, count_shard_rows(pairs)))
    for name, rows in (("image", embedded()), ("text", text)):
        vectors = rows.map(normalise)
        search = FaissIndex(vectors, params.faiss_key, params.effort, memory=params.memory)
        measures |= check_recall(name, search, vectors, vectors, params.neighbours, params)
        search.save(index / f"{name}.index")
        del search  # before the next one needs the memory
    for name, queries, vectors in (
        ("neighbours", described, described()),
        ("caption_neighbours", embedded, text),
    ):
        measures |= write_neighbours(
            name,
            pairs,
            queries=queries,
            vectors=vectors,
            k=getattr(params, name),
            params=params,
            index=index,
            runtime=runtime,
        )
    shutil.rmtree(index / SEARCHES)
    if measures:
        write_json(measures, index / RECALL)
    return measures
