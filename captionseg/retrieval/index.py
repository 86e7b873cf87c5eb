"""The one interface of every index, and the neighbours table that curation reads."""

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

SAMPLE = 200  # queries that the recall of an index is measured on
TIE = 1e-5  # of cosines: as near as the last neighbour, but for rounding


@dataclass(frozen=True)
class Effort:
    """How thorough an index that is not exact searches; 0 takes it from how many rows are asked
    for.

    Attributes:
        ef_search: candidates that a graph (HNSW) keeps.
        nprobe: lists that are looked into (IVF).
    """

    ef_search: int = 0
    nprobe: int = 0


ALL_EFFORT = Effort()


@runtime_checkable
class Index(Protocol):
    """Rows of a matrix, searchable by inner product."""

    @property
    def exact(self) -> bool:
        """Whether it finds every row that a matrix product would."""
        ...

    def search(
        self, queries: Float[np.ndarray, "query dim"], k: int
    ) -> tuple[Float32[np.ndarray, "query {k}"], Int64[np.ndarray, "query {k}"]]:
        """Similarities and rows, best first; row -1 where there are fewer than k."""
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
    """The k most similar indexed images of every image, itself excluded.

    A product's last digits depend on the threads that share it, so a chunk has one thread and the
    cores have a chunk each: the same bytes on any number of cores.

    Args:
        index: built over `descriptor[rows]`.
        rows: which rows of the corpus the index holds.
        descriptor: L2-normalised, queries too.
        k: neighbours wanted.
        chunk: queries of a core at once; memory is bounded by it.
        picture: which picture a row shows; rows of the same one are left out like the row
            itself. None: each shows another.

    Returns:
        Neighbours, as rows of the corpus, and similarities, padded with -1 and -inf.
    """
    if picture is None:
        picture = np.arange(len(descriptor))
    most = int(np.bincount(picture[rows]).max(initial=1))  # as many may be the query's own
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
    """What `index.search` answers to the queries from each start on, in their order."""

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
        for begin in range(0, len(starts), 8 * threads):  # results that wait are in memory too
            for result in pool.map(search, starts[begin : begin + 8 * threads]):
                yield result
                bar.update()


def recall(
    index: Index,
    vectors: Float32[np.ndarray, "row dim"],
    queries: Float32[np.ndarray, "query dim"],
    k: int,
) -> float:
    """The share of the k nearest rows that an index finds, beside a matrix product with all of
    them.

    Args:
        index: built over `vectors`.
        vectors: L2-normalised.
        queries: likewise, of which SAMPLE are taken, evenly spaced.
        k: rows asked for.
    """
    k, some = min(k, len(vectors)), queries[:: max(1, len(queries) // SAMPLE)][:SAMPLE]
    if not k or not len(some):
        return 1.0
    nearest, hits = index.search(some, k)[1], 0
    # one row of products at a time
    for query, rows in zip(np.asarray(some, np.float32), nearest, strict=True):
        score = vectors @ query
        last = np.partition(score, len(score) - k)[len(score) - k]
        hits += int((score[rows[rows >= 0]] >= last - TIE).sum())
    return hits / (k * len(some))
