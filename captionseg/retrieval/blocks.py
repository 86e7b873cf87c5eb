"""The jobs of a search for neighbours: blocks of queries, on processes or machines.

An index is trained and filled by one process, which writes it and what else all jobs read into a
folder; workers map these files into memory. A block is written by whoever searches it, to the same
bytes, and is kept until the search has ended, so that a run that was killed goes on from there.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captionseg.arrays import Rows
from captionseg.retrieval.index import StoredIndex, choose_chunk, find_neighbours
from captionseg.runtime.fan_out import PerProcess, count_cores, spread, stays_here
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.folders import find_incomplete
from captionseg.storage.named_arrays import read_named, write_named
from captionseg.storage.reading import read_array
from captionseg.storage.writing import open_array

BLOCK = 16_384
"""Queries of a job: a multiple of what an index is asked at once, so that blocks round nothing
differently."""
INDEX, ARRAYS = "search.index", "arrays"


class Searched(NamedTuple):
    """An index of some rows of a corpus.

    Attributes:
        index: the index.
        rows: [M] which rows of the corpus it has.
        picture: [N] number of the picture of each row of the corpus.
        copies: most indexed rows that one picture has.
    """

    index: StoredIndex
    rows: np.ndarray
    picture: np.ndarray
    copies: int


@dataclass(frozen=True)
class Task:
    """What all jobs of a search are sent.

    Attributes:
        searched: what is searched.
        queries: L2-normalised descriptors of all rows of the corpus.
        k: number of neighbours of a row.
        folder: of the blocks.
        similarities: whether similarities are written, too.
        threads: number of threads of a job, each of which asks for some of its queries.
    """

    searched: PerProcess[Searched]
    queries: PerProcess[Rows]
    k: int
    folder: Path
    similarities: bool
    threads: int


def open_searched(folder: Path, load: Callable[[Path], StoredIndex], copies: int) -> Searched:
    """Map what `search_blocks` wrote for workers."""
    arrays = read_named(folder / ARRAYS)
    return Searched(load(folder / INDEX), arrays["rows"], arrays["picture"], copies)


def search_blocks(
    searched: Searched,
    queries: PerProcess[Rows],
    k: int,
    *,
    load: Callable[[Path], StoredIndex],
    folder: Path,
    similarities: bool,
    runtime: RuntimeParams,
) -> Iterator[tuple[np.ndarray, ...]]:
    """Find the k most similar rows of every row of a corpus, without rows of its own picture.

    Args:
        searched: the index.
        queries: L2-normalised descriptors of all rows; each process opens them.
        k: number of neighbours.
        load: opens the index that was saved at a path, in workers.
        folder: folder for what the workers read and write.
        similarities: whether similarities are wanted.
        runtime: what blocks are spread over; an index on GPUs stays here.

    Yields:
        for each block of BLOCK rows in order: neighbours [n, k] int32, padded with -1, and
        if they are wanted, similarities [n, k] float16, padded with -inf.
    """
    if getattr(searched.index, "on_gpu", False):
        runtime = HERE
    count = len(queries())
    spans = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    expected = [list_files(folder, span, similarities=similarities) for span in spans]
    missing = [span for span, files in zip(spans, expected, strict=True) if find_incomplete(files)]
    here = stays_here(runtime, len(missing))
    if not here:
        if not (folder / INDEX).exists():
            searched.index.save(folder / INDEX)
        write_named({"rows": searched.rows, "picture": searched.picture}, folder / ARRAYS)
    opened = functools.partial(open_searched, folder, load, searched.copies)
    task = Task(
        PerProcess(opened, made=searched),
        queries,
        k,
        folder,
        similarities,
        threads=count_cores() if here else 1,
    )
    done = spread(functools.partial(write_block, task), missing, runtime, called=describe)
    for span, files in zip(spans, expected, strict=True):
        if span in missing:
            next(done)
        yield tuple(map(read_array, files))


def describe(span: range) -> str:
    """Describe a job, for messages."""
    return f"index: the neighbours of rows {span.start} to {span.stop - 1}"


def list_files(folder: Path, span: range, *, similarities: bool) -> dict[Path, int]:
    """Return the files of a block, neighbours first, with their numbers of rows.

    Args:
        folder: folder of the blocks.
        span: rows of the block.
        similarities: whether there are similarities.
    """
    names = ["neighbours", *(["similarities"] if similarities else [])]
    return {folder / f"{name}_{span.start:012d}.npy": len(span) for name in names}


def write_block(task: Task, span: range) -> int:
    """Write the neighbours of some rows; returns their number."""
    searched = task.searched()
    chunk = choose_chunk(searched.index, len(searched.rows))
    found = find_neighbours(
        searched.index,
        searched.rows,
        task.queries(),
        task.k,
        picture=searched.picture,
        copies=searched.copies,
        starts=range(span.start, span.stop, chunk),
        threads=task.threads,
    )
    files = list_files(task.folder, span, similarities=task.similarities)
    with contextlib.ExitStack() as stack:
        append = [
            stack.enter_context(open_array(path, (len(span), task.k), kind))
            for path, kind in zip(files, (np.int32, np.float16), strict=False)
        ]
        for parts in found:
            for add, part in zip(append, parts, strict=False):
                add(part)
    return len(span)
