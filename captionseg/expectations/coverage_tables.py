"""Tables that record for each pair which outputs exist."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from captionseg.datasets.ids import number_pictures
from captionseg.records import MARKS, SUPERVISION
from captionseg.storage.reading import read_json, read_table

pc: Any = compute  # its functions are made when it is imported

PLACE = ["uid", "shard", "key", "split"]
"""Columns in which the rows of a pair are the same in all tables."""


@dataclass(frozen=True)
class Folders:
    """Paths of the validated tables; `curation` is the JSON file with the measures of curate."""

    pairs: Path
    truth: Path
    index: Path
    features: Path
    regions: Path
    supervision: Path
    segments: Path
    curation: Path


@dataclass(frozen=True)
class CoverageParams:
    """What must exist according to params.yaml.

    Attributes:
        rules: curation rules, including variants.
        split: the split that has segments.
        curation: the rule whose kept rows have segments.
    """

    rules: Sequence[str]
    split: str
    curation: str


def tabulate_pictures(pairs: pa.Table) -> pa.Table:
    """List shard and number of each picture; a picture in two shards counts twice, as in
    segment_text.
    """
    both = pa.table({"shard": pairs["shard"], "picture": number_pictures(pairs)})
    return both.group_by(["shard", "picture"]).aggregate([])


def read_kept(folder: Path) -> pa.Array:
    """Read the uids of the rows that a rule keeps; empty without files."""
    files = sorted(folder.glob("*.parquet"))
    tables = (read_table(file, schema=SUPERVISION, columns=["uid", "kept"]) for file in files)
    kept = [table["uid"].filter(table["kept"]) for table in tables]
    parts = [part for column in kept for part in column.chunks]
    return pa.chunked_array(parts, pa.string()).combine_chunks()


def read_marked(supervision: Path) -> set[str]:
    """uids of the pairs that are marked, so that no rule keeps them."""
    file = supervision / "marks" / "marks.parquet"
    return set(read_table(file, schema=MARKS, columns=["uid"])["uid"].to_pylist())


def tabulate_splits(folder: Path, pairs: pa.Table, ids: pa.Table) -> pd.DataFrame:
    """Build a row per shard with its split according to its table, its tar file and the index.

    A test pair in a training shard would be trained on and scored.
    """
    by_table, by_index = (read_splits(table) for table in (pairs, ids))
    rows = [
        (shard, split, read_tar_split(folder / f"{shard}.tar"), by_index.get(shard, "none"))
        for shard, split in by_table.items()
    ]
    return pd.DataFrame(rows, columns=["shard", "pairs", "tar", "index"])


def read_splits(table: pa.Table) -> dict[str, str]:
    """Return shard -> its split according to a table; several splits are joined."""
    rows = (
        table.group_by(["shard", "split"])
        .aggregate([])
        .sort_by([("shard", "ascending"), ("split", "ascending")])
    )
    splits: dict[str, list[str]] = {}
    for shard, split in zip(rows["shard"].to_pylist(), rows["split"].to_pylist(), strict=True):
        splits.setdefault(shard, []).append(str(split))
    return {shard: ",".join(names) for shard, names in splits.items()}


def read_tar_split(path: Path) -> str:
    """Read the split from the first JSON file in a tar."""
    try:
        with tarfile.open(path) as tar:
            name = next(
                member.name for member in tar if member.isfile() and member.name.endswith(".json")
            )
            stream = tar.extractfile(name)
            assert stream is not None
            return str(json.load(stream)["split"])
    except (OSError, tarfile.TarError, ValueError, LookupError, TypeError, StopIteration):
        return "unreadable"


def tabulate_rules(folders: Folders, params: CoverageParams) -> pd.DataFrame:
    """Build a row per rule: share of kept rows and mean number of concepts, now and as measured by
    curate.

    The means are over all rows, so a single lost concept changes them.
    """
    measured, rows = read_json(folders.curation), []
    for rule in params.rules:
        files = sorted((folders.supervision / rule).glob("*.parquet"))
        measures = measured.get(rule, {})
        kept, concepts = [np.zeros(0)], [np.zeros(0)]
        for file in files:
            table = read_table(file, schema=SUPERVISION, columns=["kept", "concepts"])
            kept.append(pc.fill_null(table["kept"], False).to_numpy().astype(float))
            concepts.append(
                pc.fill_null(pc.list_value_length(table["concepts"]), 0).to_numpy().astype(float)
            )
        means = [
            float(np.mean(np.concatenate(values))) if files else 0.0 for values in (kept, concepts)
        ]
        rows.append(
            {
                "rule": rule,
                "there": bool(files),
                "kept": round(means[0], 9),
                "concepts": round(means[1], 9),
                "kept_measured": round(float(measures.get("kept", -1)), 9),
                "concepts_measured": round(float(measures.get("concepts_per_image", -1)), 9),
            }
        )
    return pd.DataFrame(rows)


def tabulate_pairs(
    folders: Folders, params: CoverageParams, pairs: pa.Table, ids: pa.Table
) -> tuple[pd.DataFrame, list[str]]:
    """Build a row per uid of any table, and return the columns that must be True.

    pair: it is a successful pair. indexed: it is in the index once, with the same shard, key and
    split. truth: it has at most one true mask. supervision RULE: the rule has it once if it is in
    the training split, otherwise never.
    """
    uids = {"index": ids["uid"], "truth": read_uids(folders.truth)}
    uids |= {rule: read_uids(folders.supervision / rule) for rule in params.rules}
    known = pairs["uid"].unique()
    successes = len(known)
    for column in uids.values():
        place = pc.index_in(column, value_set=known)
        known = pa.concat_arrays([known, column.filter(pc.is_null(place)).unique()])
    number = {name: count_uids(column, known) for name, column in uids.items()}
    # of a uid that is there twice the first row is compared
    paired, indexed = (
        table.take(pc.index_in(known, value_set=table["uid"].combine_chunks()))
        for table in (pairs.select(PLACE), ids.select(PLACE))
    )
    same = number["index"] == 1
    for name in PLACE[1:]:
        same &= pc.fill_null(pc.equal(paired[name], indexed[name]), False).to_numpy()
    rows = known.to_pandas().to_frame("uid")
    rows["pair"] = np.arange(len(known)) < successes
    rows["indexed"] = same
    rows["truth"] = number["truth"] <= 1
    train = pc.fill_null(pc.equal(paired["split"], "train"), False).to_numpy()
    for rule in params.rules:
        rows[f"supervision {rule}"] = number[rule] == train
    return rows, [name for name in rows if name != "uid"]


def read_uids(folder: Path) -> pa.ChunkedArray:
    """Read column uid of all parquet files in a folder; there may be none."""
    files = sorted(folder.glob("*.parquet"))
    columns = [read_table(file, columns=["uid"])["uid"].cast(pa.string()) for file in files]
    return pa.chunked_array([part for column in columns for part in column.chunks], pa.string())


def count_uids(column: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """Count how often each uid of `known`, which has all of them, is in a column."""
    place = pc.index_in(column, value_set=known).to_numpy()
    return np.bincount(place, minlength=len(known))
