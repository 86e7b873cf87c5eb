"""Expectations across tables: no row was lost, duplicated or moved between stages.

Counts are read from parquet footers and array headers, and rows are compared by hashes, so that
this is cheap for millions of pairs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool
from pyarrow import compute

from captionseg.datasets.ids import number_shards
from captionseg.expectations.coverage_tables import (
    CoverageParams,
    Folders,
    count_pictures,
    find_kept,
    tabulate_rules,
    tabulate_splits,
)
from captionseg.expectations.known_pairs import KnownPairs
from captionseg.expectations.occurrences import frame_pairs, list_columns, tabulate_pairs
from captionseg.expectations.quiet import expect
from captionseg.expectations.suite import Suite, expect_true
from captionseg.records import CAPTION_NEIGHBOURS, DROPPED, NEIGHBOURS, SIMILARITIES, UserError
from captionseg.segment_text.counts import read_shard_counts
from captionseg.storage.packed import SUFFIX, PackedArray
from captionseg.storage.reading import read_array, read_json, read_table

pc: Any = compute  # its functions are made when it is imported

ARRAYS = {
    "features": {"pooled": ".npy", "descriptor": SUFFIX, "cells": ".npy", "dense": ".npy"},
    "regions": {"labels": SUFFIX, "count": ".npy"},
}
NOT_ALWAYS = ("cells", "dense")  # by the encoder, and by index.keep_dense
BY_NUMBER = {"img_emb": ".npy", "text_emb": ".npy", "metadata": ".parquet"}  # files of the index
NEAR = (NEIGHBOURS, SIMILARITIES, CAPTION_NEIGHBOURS)


@dataclass(frozen=True)
class Part:
    """A file, or a count in it, with its actual and expected number of rows; -1 if unreadable."""

    name: str
    rows: int
    expected: int
    exists: bool = True

    @property
    def description(self) -> str:
        """The name, with both numbers if they differ."""
        return self.name + (
            f" ({self.rows} rows of {self.expected})" if self.rows != self.expected else ""
        )


def build_suites(folders: Folders, params: CoverageParams, pairs: KnownPairs) -> Iterator[Suite]:
    """Build the suites across the tables of a run.

    Args:
        folders: paths of all tables.
        params: what must exist.
        pairs: the successful pairs.
    """
    equal = expect.ExpectColumnPairValuesToBeEqual
    of_splits = [equal(column_A="pairs", column_B="tar"), equal(column_A="pairs", column_B="index")]
    of_rules = [
        *expect_true("there"),
        equal(column_A="kept", column_B="kept_measured"),
        equal(column_A="concepts", column_B="concepts_measured"),
    ]
    of_parts = [*expect_true("there"), equal(column_A="rows", column_B="expected")]
    yield Suite.of("rows by shard", tabulate_parts(folders, params, pairs), of_parts, key="part")
    yield Suite.of("splits by shard", tabulate_splits(folders, pairs), of_splits, key="shard")
    yield Suite.of("rules of curation", tabulate_rules(folders, params), of_rules, key="rule")
    found, alike = tabulate_pairs(folders, params, pairs)
    frames = functools.partial(frame_pairs, found, alike, params.rules)
    yield Suite("pairs in all tables", frames, expect_true(*list_columns(params.rules)))


def tabulate_parts(folders: Folders, params: CoverageParams, pairs: KnownPairs) -> pd.DataFrame:
    """Tabulate the files of all stages with their actual and expected numbers of rows."""
    kept = find_kept(folders.supervision / params.curation, pairs)
    checked = [
        *check_pairs(folders, pairs),
        *check_index(folders, pairs),
        *check_rules(folders, params, pairs),
        *check_segments(folders, kept, pairs),
    ]
    return pd.DataFrame(
        [
            {"part": p.description, "there": p.exists, "rows": p.rows, "expected": p.expected}
            for p in checked
        ]
    )


def count_file_rows(file: Path) -> int:
    """Read the number of rows from a parquet footer or an array header; -1 if unreadable."""
    try:
        if file.suffix == SUFFIX:
            return len(PackedArray(file))
        return (
            pq.read_metadata(file).num_rows if file.suffix == ".parquet" else len(read_array(file))
        )
    except (OSError, pa.ArrowException, UserError, TypeError):
        return -1


def check_file(folder: Path, name: str, expected: int) -> Part:
    """Check the number of rows of a file; its name includes the folder's."""
    file = folder / name
    exists = file.is_file()
    return Part(f"{folder.name}/{name}", count_file_rows(file) if exists else 0, expected, exists)


def list_strays(folder: Path, suffix: str, names: Sequence[str]) -> Iterator[Part]:
    """Yield files that belong to no shard; the case of the suffix is ignored."""
    for file in sorted(folder.glob("[!.]*")):
        if file.name.lower().endswith(suffix) and file.name not in names:
            yield Part(f"{folder.name}/{file.name}, of no shard", max(1, count_file_rows(file)), 0)


def check_pairs(folders: Folders, pairs: KnownPairs) -> Iterator[Part]:
    """Check that pairs, features and regions have a row per successful pair, and that the truth has
    all shards.
    """
    shards = pairs.rows
    for shard in list_shards(folders):
        yield from check_shard(folders, shard, shards.get(shard, 0))
    for folder, kinds in (
        (folders.features, ARRAYS["features"]),
        (folders.regions, ARRAYS["regions"]),
    ):
        for kind, suffix in kinds.items():
            if kind not in NOT_ALWAYS or (folder / kind).is_dir():
                yield from check_arrays(folder / kind, suffix, shards)
    counts = {
        shard: count_regions(folders.regions / "count" / f"count_{shard}.npy") for shard in shards
    }
    yield from check_arrays(folders.features / "regions", ".npy", counts)


def check_arrays(folder: Path, suffix: str, shards: Mapping[str, int]) -> Iterator[Part]:
    """Check the arrays of all shards in a folder.

    Args:
        folder: NAME with the files NAME_SHARD and the suffix.
        suffix: their suffix.
        shards: expected number of rows of each shard.
    """
    expected = {f"{folder.name}_{shard}{suffix}": rows for shard, rows in shards.items() if rows}
    yield from (check_file(folder, name, rows) for name, rows in expected.items())
    yield from list_strays(folder, suffix, list(expected))


def count_regions(file: Path) -> int:
    """Add up the numbers of regions of a shard; -1 if they are unreadable."""
    try:
        return int(read_array(file).sum())
    except UserError:
        return -1


def list_shards(folders: Folders) -> list[str]:
    """Return the names of all shards of which there is a file."""
    files = [
        path
        for folder in (folders.pairs, folders.truth)
        for path in folder.glob("[0-9]*.*")
        if path.suffix in (".parquet", ".tar")
    ]
    stats = folders.pairs.glob("[0-9]*_stats.json")
    return sorted(
        {*(path.stem for path in files), *(p.name.removesuffix("_stats.json") for p in stats)}
    )


def check_shard(folders: Folders, shard: str, successes: int) -> Iterator[Part]:
    """Check the files of one shard of pairs.

    Args:
        folders: paths of all tables.
        shard: its name.
        successes: number of its successful rows.
    """
    file = folders.pairs / f"{shard}_stats.json"
    stats = read_json(file) if file.is_file() else {}
    yield check_file(folders.pairs, f"{shard}.parquet", int(stats.get("count", -1)))
    yield Part(
        f"pairs/{file.name}, successes", int(stats.get("successes", -1)), successes, file.is_file()
    )
    for path in (folders.pairs / f"{shard}.tar", folders.truth / f"{shard}.parquet"):
        yield Part(f"{path.parent.name}/{path.name}", 0, 0, path.is_file())


def check_index(folders: Folders, pairs: KnownPairs) -> Iterator[Part]:
    """Check that the index has a row per successful pair."""
    numbers = number_shards(pairs.rows)
    for kind, suffix in BY_NUMBER.items():
        expected = {f"{kind}_{number}{suffix}": rows for number, rows in numbers.items()}
        yield from (check_file(folders.index / kind, name, rows) for name, rows in expected.items())
        yield from list_strays(folders.index / kind, suffix, list(expected))
    yield check_file(folders.index, "ids.parquet", len(pairs))
    yield from (check_file(folders.index, name, len(pairs)) for name in NEAR)
    for name in ("image", "text"):
        yield Part(f"index/{name}.index", 0, 0, (folders.index / f"{name}.index").is_file())


def check_rules(folders: Folders, params: CoverageParams, pairs: KnownPairs) -> Iterator[Part]:
    """Every rule has a row for each training pair, and the marks one for each that was counted."""
    shards = pairs.count_rows(pairs.is_of("train"))
    for rule in params.rules:
        expected = {f"{shard}.parquet": rows for shard, rows in shards.items()}
        for name, rows in expected.items():
            file = check_file(folders.supervision / rule, name, rows)
            yield Part(f"supervision/{file.name}", file.rows, rows, file.exists)
        yield from list_strays(folders.supervision / rule, ".parquet", list(expected))
    if marked := read_json(folders.curation).get(DROPPED):
        yield check_file(folders.supervision / "marks", "marks.parquet", int(sum(marked.values())))
    vocabulary = folders.supervision / "vocabulary"
    yield check_file(vocabulary, "embedding.npy", count_file_rows(vocabulary / "concepts.parquet"))


def check_segments(
    folders: Folders, kept: Bool[np.ndarray, " row"], pairs: KnownPairs
) -> Iterator[Part]:
    """Check that every kept pair of the split was processed, and that its segments are in the
    tables.
    """
    expected, pictures = pairs.count_rows(kept), count_pictures(pairs, kept)
    for shard, rows in expected.items():
        file, notes = (
            folders.segments / f"{shard}.parquet",
            folders.segments / f"{shard}_stats.json",
        )
        counts = read_shard_counts(notes) if notes.is_file() else {}
        number = {
            name: counts.get(name, 0)
            for name in ("images", "pairs_joined", "images_without_segments")
        }
        yield Part(
            f"segments/{notes.name}, pairs",
            number["images"] + number["pairs_joined"],
            rows,
            notes.is_file(),
        )
        yield Part(f"segments/{notes.name}, pictures", number["images"], pictures[shard])
        yield check_file(folders.segments, file.name, counts.get("segments", -1))
        if file.is_file():
            table = read_table(file, columns=["uid", "texts"])
            with_some = number["images"] - number["images_without_segments"]
            texts = pc.sum(pc.list_value_length(table["texts"])).as_py() or 0
            yield Part(
                f"segments/{file.name}, pictures",
                pc.count_distinct(table["uid"]).as_py(),
                with_some,
            )
            yield Part(f"segments/{file.name}, texts", texts, counts.get("texts", -1))
    yield from list_strays(folders.segments, ".parquet", [f"{shard}.parquet" for shard in expected])
