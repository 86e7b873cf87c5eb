"""The interface of all indexes, and the search of neighbours for curation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64
from threadpoolctl import threadpool_limits

from captionseg.arrays import Rows
from captionseg.runtime.fan_out import count_cores

AUTO = "auto"
MEMORY = 16.0  # GiB
SAMPLE = 200  # number of queries for the recall of an index
SMALL_CHUNK, CHUNK, GPU_CHUNK = 256, 2048, 4096
"""Queries of a search: of few rows, so that all cores have some; of many, as products of larger
matrices take half the time; on a GPU, which needs many to be busy."""
FEW = 16_384  # rows
TIE = 1e-5  # cosines that differ by less are equal up to rounding


@dataclass(frozen=True)
class Effort:
    """Effort of a search that is not exact; 0 derives it from the number of requested rows.

    Attributes:
        ef_search: number of candidates that a graph (HNSW) keeps.
        nprobe: number of lists that are searched (IVF).
    """

    ef_search: int = 0
    nprobe: int = 0


ALL_EFFORT = Effort()


@runtime_checkable
class Index(Protocol):
    """Rows of a matrix, searchable by inner product."""

    @property
    def exact(self) -> bool:
        """Whether the search is exact."""
        ...

    def search(
        self, queries: Float[np.ndarray, "query dim"], k: int
    ) -> tuple[Float32[np.ndarray, "query {k}"], Int64[np.ndarray, "query {k}"]]:
        """Find the k most similar rows of each query.

        Returns:
            similarities and rows, best first; row -1 pads.
        """
        ...


class StoredIndex(Index, Protocol):
    """An index that can be written to a file, which workers open; a member of INDEXES."""

    def save(self, path: Path) -> None:
        """Write it to a file, which `load` of its class opens."""
        ...


def find_neighbours(
    index: Index,
    rows: Int[np.ndarray, " indexed"],
    queries: Rows | Float[np.ndarray, "row dim"],
    k: int,
    *,
    picture: Int[np.ndarray, " row"] | None = None,
    copies: int = 0,
    starts: range | None = None,
    threads: int = 0,
) -> Iterator[tuple[Int32[np.ndarray, "_row {k}"], Float32[np.ndarray, "_row {k}"]]]:
    """Find the k most similar indexed images of every image, without itself.

    Each chunk of queries is searched by one thread, because the number of threads would change the
    rounding of matrix products: the result is the same on any number of cores.

    Args:
        index: index of some rows of the corpus.
        rows: which these are.
        queries: L2-normalised descriptors of all rows.
        k: number of neighbours.
        picture: number of the picture of each row; rows with the same picture are not neighbours.
            None means that all pictures differ.
        copies: most indexed rows that one picture has; 0 counts them.
        starts: first row of each chunk of queries, the size of which bounds the memory, up to the
            last query. None takes all rows, in chunks that fit.
        threads: number of threads; 0 means one per core.

    Yields:
        for each chunk in order: neighbours, as rows of the corpus, padded with -1; and
        similarities, padded with -inf.
    """
    queries = Rows.of(queries)
    if picture is None:
        picture = np.arange(len(queries))
    width = min(k + (copies or count_copies(picture[rows])), len(rows))
    starts = starts or range(0, len(queries), choose_chunk(index, len(rows)))
    for start, (score, found) in zip(
        starts, search_in_chunks(index, queries, width, starts, threads), strict=True
    ):
        ids, nothing = rows[found].astype(np.int32), found < 0
        ids[nothing] = -1
        others = picture[ids] != picture[start : start + len(ids), None]
        yield keep_first(others | nothing, k, ids, score)


def count_copies(picture: Int[np.ndarray, " row"]) -> int:
    """Return how many rows the picture with most rows has, at least 1."""
    return int(np.bincount(picture).max(initial=1))


def choose_chunk(index: Index, count: int) -> int:
    """Return how many queries an index of `count` rows is asked at once."""
    if getattr(index, "on_gpu", False):
        return GPU_CHUNK
    return SMALL_CHUNK if count < FEW else CHUNK


def keep_first(
    chosen: Bool[np.ndarray, "query near"],
    k: int,
    ids: Int32[np.ndarray, "query near"],
    score: Float32[np.ndarray, "query near"],
) -> tuple[Int32[np.ndarray, "query {k}"], Float32[np.ndarray, "query {k}"]]:
    """Keep the first k chosen entries of each row, in their order, padded with -1 and -inf."""
    rank = chosen.cumsum(1, dtype=np.int32)
    chosen = chosen & (rank <= k)
    count = chosen.sum(1)
    if (count == k).all():
        return ids[chosen].reshape(-1, k), score[chosen].reshape(-1, k)
    near = np.full((len(ids), k), -1, np.int32)
    similarity = np.full((len(ids), k), -np.inf, np.float32)
    filled = np.arange(k) < count[:, None]
    near[filled], similarity[filled] = ids[chosen], score[chosen]
    return near, similarity


def search_in_chunks(
    index: Index, queries: Rows, k: int, starts: range, threads: int
) -> Iterator[tuple[Float32[np.ndarray, "_query _near"], Int64[np.ndarray, "_query _near"]]]:
    """Yield the results of `index.search` for the chunk of queries at each start, in order."""

    def search(
        start: int,
    ) -> tuple[Float32[np.ndarray, "query near"], Int64[np.ndarray, "query near"]]:
        stop = min(start + starts.step, starts.stop)
        return index.search(queries[np.arange(start, stop)], k)

    # a GPU takes one call at a time
    threads = 1 if getattr(index, "on_gpu", False) else threads or count_cores()
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(threads, initializer=threadpool_limits, initargs=(1,)) as pool,
    ):
        ahead = threads * max(2, 8 * SMALL_CHUNK // starts.step)  # bounds the results in memory
        for begin in range(0, len(starts), ahead):
            yield from pool.map(search, starts[begin : begin + ahead])


def recall(
    index: Index,
    vectors: Rows | Float[np.ndarray, "row dim"],
    queries: Rows | Float[np.ndarray, "query dim"],
    k: int,
) -> float:
    """Return the share of the k nearest rows that an index finds, in 0..1.

    Args:
        index: index of `vectors`.
        vectors: L2-normalised.
        queries: L2-normalised; SAMPLE evenly spaced ones are used.
        k: number of requested rows.
    """
    vectors, queries = Rows.of(vectors), Rows.of(queries)
    step, k = max(1, len(queries) // SAMPLE), min(k, len(vectors))
    sample = queries[np.arange(len(queries))[::step][:SAMPLE]]
    if not k or not len(sample):
        return 1.0
    last = find_last_scores(vectors, sample, k)
    nearest, hits = index.search(sample, k)[1], 0
    for query, least, rows in zip(sample, last, nearest, strict=True):
        hits += int((vectors[rows[rows >= 0]] @ query >= least - TIE).sum())
    return hits / (k * len(sample))


def find_last_scores(
    vectors: Rows, queries: Float32[np.ndarray, "query dim"], k: int
) -> Float32[np.ndarray, " query"]:
    """Return the similarity of the k-th nearest of all rows to each query."""
    best = np.zeros((len(queries), 0), np.float32)
    for block in vectors.blocks():
        best = np.concatenate([best, queries @ block.T], 1)
        if best.shape[1] > k:
            best = np.partition(best, best.shape[1] - k, axis=1)[:, -k:]
    return best.min(1)
