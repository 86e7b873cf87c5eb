"""The captions of a corpus with the parts of speech of their words, in files of a few thousand."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from captionseg.runtime.fan_out import spread
from captionseg.runtime.params import RuntimeParams
from captionseg.storage.folders import count_rows
from captionseg.storage.reading import read_table
from captionseg.storage.writing import write_table
from captionseg.text.noun_extraction import Token, tag

R = TypeVar("R")
Rows = Sequence[tuple[Sequence[Token], int]]
"""The words of captions, and how many captions are the same."""

CHUNK = 10_000  # captions a file

TAGGED = pa.schema(
    [
        ("count", pa.int64()),
        ("word", pa.list_(pa.string())),
        ("lemma", pa.list_(pa.string())),
        ("is_noun", pa.list_(pa.bool_())),
        ("is_gerund", pa.list_(pa.bool_())),
        ("adjoins", pa.list_(pa.bool_())),
    ]
)
"""A caption that occurs `count` times, and its tokens."""


@dataclass(frozen=True)
class TaggedCaptions:
    """Captions in the order in which they first occur; equal ones are one.

    Attributes:
        files: of schema TAGGED.
        runtime: what work on them is spread over.
    """

    files: Sequence[Path]
    runtime: RuntimeParams

    def map(self, work: Callable[[Rows], R]) -> Iterator[R]:
        """Yield what a function, which can be sent to workers, makes of each file, in order."""
        job = functools.partial(_work_on, work)
        return spread(job, self.files, self.runtime, called=lambda file: f"curate: {file}")


def tag_corpus(
    captions: pa.StringArray, folder: Path, runtime: RuntimeParams, *, model: str | None = None
) -> TaggedCaptions:
    """Tag the captions of a corpus, equal ones once; files that are there already are kept.

    Args:
        captions: of all pairs.
        folder: to write the files to.
        runtime: what captions are spread over.
        model: see `captionseg.text.noun_extraction.load`.
    """
    counts = captions.value_counts()
    starts = range(0, len(counts), CHUNK)
    jobs = [
        (folder / f"{number:05d}.parquet", counts[start : start + CHUNK])
        for number, start in enumerate(starts)
    ]
    work = functools.partial(_write_tagged, model)
    for _ in spread(work, jobs, runtime, called=lambda job: f"curate: {job[0]}"):
        pass
    return TaggedCaptions([file for file, _ in jobs], runtime)


def _write_tagged(model: str | None, job: tuple[Path, pa.StructArray]) -> None:
    """Write one file, unless it is whole."""
    file, counts = job
    if count_rows(file) == len(counts):
        return
    rows = list(tag(counts.field("values").to_pylist(), model))
    columns = {name: [[getattr(t, name) for t in row] for row in rows] for name in Token._fields}
    columns["count"] = counts.field("counts")
    write_table(pa.table([columns[name] for name in TAGGED.names], schema=TAGGED), file)


def _work_on(work: Callable[[Rows], R], file: Path) -> R:
    table = read_table(file, schema=TAGGED).to_pydict()
    tokens = zip(*(table[name] for name in Token._fields), strict=True)
    rows = [list(map(Token, *row)) for row in tokens]
    return work(list(zip(rows, table["count"], strict=True)))
