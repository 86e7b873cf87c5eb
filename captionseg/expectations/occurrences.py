"""How often each pair is in the tables that should have it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Integer, UInt8
from pyarrow import compute

from captionseg.expectations.coverage_tables import CoverageParams, Folders, stream_ids
from captionseg.expectations.known_pairs import KnownPairs, hash_texts, stream_shards

pc: Any = compute  # its functions are made when it is imported

MORE = 2
"""Stands for every number of times above one."""


@dataclass
class Occurrences:
    """How often uids are in tables.

    Attributes:
        pairs: the successful pairs, of which a table takes one byte each.
        times: name of a table -> how often it has the uid of each pair, at most MORE.
        strange: name of a table -> uids that are no pair's, and how often it has them.
    """

    pairs: KnownPairs
    times: dict[str, UInt8[np.ndarray, " row"]] = field(default_factory=dict)
    strange: dict[str, Counter[str]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Begin a table without rows."""
        self.times[name] = np.zeros(len(self.pairs), np.uint8)
        self.strange[name] = Counter()

    def add(self, name: str, uids: pa.Array | pa.ChunkedArray) -> Integer[np.ndarray, " uid"]:
        """Count further uids of a table; return the pairs that have them, -1 where none does."""
        found = self.pairs.uids.find(uids)
        if (found < 0).any():
            self.strange[name].update(uids.filter(pa.array(found < 0)).to_pylist())
        rows, times = np.unique(found[found >= 0], return_counts=True)
        self.times[name][rows] = np.minimum(self.times[name][rows] + times, MORE)
        return found

    def add_folder(self, name: str, folder: Path) -> None:
        """Count the uids of all tables of a folder; there may be none."""
        self.start(name)
        files = sorted(folder.glob("*.parquet"))
        for table in stream_shards(folder, ["uid"], files):
            self.add(name, table["uid"].cast(pa.string()))

    def list_strange(self) -> list[str]:
        """Return the uids that are no pair's, each once."""
        return list(dict.fromkeys(uid for uids in self.strange.values() for uid in uids))


def tabulate_pairs(
    folders: Folders, params: CoverageParams, pairs: KnownPairs
) -> tuple[Occurrences, Bool[np.ndarray, " row"]]:
    """Count each uid in all tables.

    Returns:
        how often each uid is in which table; and which pairs are in the index with the same shard,
        key and split.
    """
    found = Occurrences(pairs)
    alike = count_index(folders.index, found)
    found.add_folder("truth", folders.truth)
    for rule in params.rules:
        found.add_folder(rule, folders.supervision / rule)
    return found, alike


def count_index(index: Path, found: Occurrences) -> Bool[np.ndarray, " row"]:
    """Count the uids of an index; return which pairs have the same shard, key and split there."""
    pairs = found.pairs
    shards = pa.array(pairs.rows, pa.string())
    splits = pa.array(pairs.splits, pa.string())
    alike = np.zeros(len(pairs), bool)
    found.start("index")
    for batch in stream_ids(index):
        rows = found.add("index", batch["uid"])
        there = rows >= 0
        rows, part = rows[there], batch.filter(pa.array(there))
        same = hash_texts(part["key"]) == pairs.keys[rows]
        for names, column, places in (
            (shards, "shard", pairs.find_shards(rows)),
            (splits, "split", pairs.split[rows]),
        ):
            place = pc.index_in(part[column], value_set=names, skip_nulls=True)
            same &= pc.fill_null(place, -1).to_numpy() == places
        alike[rows] = same
    return alike


def list_columns(rules: Sequence[str]) -> list[str]:
    """Return the columns of `frame_pairs` that must be True.

    pair: it is a successful pair. indexed: it is in the index once, with the same shard, key and
    split. truth: it has at most one true mask. supervision RULE: the rule has it once if it is in
    the training split, otherwise never.
    """
    return ["pair", "indexed", "truth", *(f"supervision {rule}" for rule in rules)]


def frame_pairs(
    found: Occurrences, alike: Bool[np.ndarray, " row"], rules: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """Yield a row per uid of any table, some shards at a time, with `list_columns`.

    Args:
        found: how often each uid is in which table.
        alike: which pairs are in the index with the same shard, key and split.
        rules: curation rules.
    """
    pairs, times = found.pairs, found.times
    train = pairs.is_of("train")
    for rows, table in pairs.stream(["uid"]):
        frame = table["uid"].to_pandas().to_frame("uid")
        frame["pair"] = True
        frame["indexed"] = alike[rows] & (times["index"][rows] == 1)
        frame["truth"] = times["truth"][rows] <= 1
        for rule in rules:
            frame[f"supervision {rule}"] = times[rule][rows] == train[rows]
        first = pairs.uids.is_first[rows]  # of a uid that is there twice the first row
        yield frame if first.all() else frame[first].reset_index(drop=True)
    if strange := found.list_strange():
        frame = pd.Series(strange, dtype="str").to_frame("uid")
        frame["pair"] = frame["indexed"] = False
        frame["truth"] = [found.strange["truth"][uid] <= 1 for uid in strange]
        for rule in rules:
            frame[f"supervision {rule}"] = [not found.strange[rule][uid] for uid in strange]
        yield frame
