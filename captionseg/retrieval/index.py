"""The interface of all indexes, and the search of neighbours for curation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, Int64
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from captionseg.runtime.fan_out import count_cores

SAMPLE = 200  # number of queries for the recall of an index
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


def neighbours(
    index: Index,
    rows: Int[np.ndarray, " indexed"],
    descriptor: Float32[np.ndarray, "row dim"],
    k: int,
    *,
    chunk: int = 256,
    picture: Int[np.ndarray, " row"] | None = None,
) -> tuple[Int32[np.ndarray, "row {k}"], Float32[np.ndarray, "row {k}"]]:
    """Find the k most similar indexed images of every image, without itself.

    Each chunk of queries is searched by one thread, because the number of threads would change the
    rounding of matrix products: the result is the same on any number of cores.

    Args:
        index: index of `descriptor[rows]`.
        rows: rows of the corpus in the index.
        descriptor: L2-normalised descriptors of all rows, which are the queries.
        k: number of neighbours.
        chunk: number of queries per chunk; it bounds the memory.
        picture: number of the picture of each row; rows with the same picture are not neighbours.
            None means that all pictures differ.

    Returns:
        neighbours, as rows of the corpus, padded with -1; and similarities, padded with -inf.
    """
    if picture is None:
        picture = np.arange(len(descriptor))
    most = int(np.bincount(picture[rows]).max(initial=1))  # rows with the query's own picture
    width = min(k + most, len(rows))
    near = np.full((len(descriptor), k), -1, np.int32)
    similarity = np.full((len(descriptor), k), -np.inf, np.float32)
    starts = range(0, len(descriptor), chunk)
    for start, (score, ids) in zip(
        starts, search_in_chunks(index, descriptor, width, starts), strict=True
    ):
        ids = np.where(ids < 0, -1, rows[ids]).astype(np.int32)
        # Put the query's own rows last, keep the order of the rest.
        own = (picture[ids] == picture[start : start + len(ids), None]) & (ids >= 0)
        own_last = np.argsort(own, axis=1, kind="stable")
        ids, score, own = (np.take_along_axis(a, own_last, 1)[:, :k] for a in (ids, score, own))
        near[start : start + len(ids), : ids.shape[1]] = np.where(own, -1, ids)
        similarity[start : start + len(ids), : ids.shape[1]] = np.where(own, -np.inf, score)
    return near, similarity


def search_in_chunks(
    index: Index, queries: Float[np.ndarray, "query dim"], k: int, starts: range
) -> Iterator[tuple[Float32[np.ndarray, "_query _near"], Int64[np.ndarray, "_query _near"]]]:
    """Yield the results of `index.search` for the chunk of queries at each start, in order."""

    def search(
        start: int,
    ) -> tuple[Float32[np.ndarray, "query near"], Int64[np.ndarray, "query near"]]:
        return index.search(
            np.ascontiguousarray(queries[start : start + starts.step], np.float32), k
        )

    threads = (
        1 if getattr(index, "on_gpu", False) else count_cores()
    )  # a GPU takes one call at a time
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(threads, initializer=threadpool_limits, initargs=(1,)) as pool,
        tqdm(total=len(starts), desc="neighbours", unit="chunk") as bar,
    ):
        for begin in range(0, len(starts), 8 * threads):  # bounds the results in memory
            for result in pool.map(search, starts[begin : begin + 8 * threads]):
                yield result
                bar.update()


def recall(
    index: Index,
    vectors: Float32[np.ndarray, "row dim"],
    queries: Float32[np.ndarray, "query dim"],
    k: int,
) -> float:
    """Return the share of the k nearest rows that an index finds, in 0..1.

    Args:
        index: index of `vectors`.
        vectors: L2-normalised.
        queries: L2-normalised; SAMPLE evenly spaced ones are used.
        k: number of requested rows.
    """
    k, sample = min(k, len(vectors)), queries[:: max(1, len(queries) // SAMPLE)][:SAMPLE]
    if not k or not len(sample):
        return 1.0
    nearest, hits = index.search(sample, k)[1], 0
    # one query at a time, to save memory
    for query, rows in zip(np.asarray(sample, np.float32), nearest, strict=True):
        score = vectors @ query
        last = np.partition(score, len(score) - k)[len(score) - k]
        hits += int((score[rows[rows >= 0]] >= last - TIE).sum())
    return hits / (k * len(sample))
