"""Tables that record for each pair which outputs exist."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool
from pyarrow import compute

from captionseg.datasets.ids import number_pictures
from captionseg.expectations.known_pairs import KnownPairs, Uids, count_rows, hash_texts
from captionseg.records import IDS, MARKS, SUPERVISION
from captionseg.storage.folders import ROWS
from captionseg.storage.reading import read_batches, read_json, read_table

pc: Any = compute  # its functions are made when it is imported


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


def count_pictures(pairs: KnownPairs, chosen: Bool[np.ndarray, " row"]) -> dict[str, int]:
    """Count the pictures of the chosen pairs by shard; a picture in two shards counts twice, as in
    segment_text.
    """
    counts = dict[str, int]()
    for rows, table in pairs.stream(["uid", "sha256"]):
        part = table.filter(pa.array(chosen[rows]))
        both = pa.table({"shard": part["shard"], "picture": number_pictures(part)})
        counts |= count_rows(both.group_by(["shard", "picture"]).aggregate([]))
    return counts


def find_kept(folder: Path, pairs: KnownPairs) -> Bool[np.ndarray, " row"]:
    """Return which pairs a rule keeps; none without files."""
    kept = np.zeros(len(pairs), bool)
    for file in sorted(folder.glob("*.parquet")):
        table = read_table(file, schema=SUPERVISION, columns=["uid", "kept"])
        pairs.mark(table["uid"].filter(table["kept"]), kept)
    return pairs.uids.repeat(kept)


def read_marked(supervision: Path) -> Uids:
    """uids of the pairs that are marked, so that no rule keeps them."""
    file = supervision / "marks" / "marks.parquet"
    batches = read_batches(file, ["uid"], ROWS, schema=MARKS)
    return Uids(np.concatenate([np.zeros(0, np.uint64), *(hash_texts(b["uid"]) for b in batches)]))


def stream_ids(index: Path) -> Iterator[pa.RecordBatch]:
    """Yield the ids of an index, whatever they are; `datasets.ids` refuses what is wrong."""
    return read_batches(index / "ids.parquet", IDS.names, ROWS, schema=IDS)


def tabulate_splits(folders: Folders, pairs: KnownPairs) -> pd.DataFrame:
    """Build a row per shard with its split according to its table, its tar file and the index.

    A test pair in a training shard would be trained on and scored.
    """
    splits = (table.select(["shard", "split"]) for _, table in pairs.stream(["split"]))
    by_table = read_splits(splits)
    ids = (pa.Table.from_batches([batch]) for batch in stream_ids(folders.index))
    by_index = read_splits(ids)
    rows = [
        (shard, split, read_tar_split(folders.pairs / f"{shard}.tar"), by_index.get(shard, "none"))
        for shard, split in by_table.items()
    ]
    return pd.DataFrame(rows, columns=["shard", "pairs", "tar", "index"])


def read_splits(tables: Iterable[pa.Table]) -> dict[str, str]:
    """Return shard -> its split according to some tables; several splits are joined."""
    names = ["shard", "split"]
    seen = [IDS.empty_table().select(names)]
    seen += [table.group_by(names).aggregate([]).select(names) for table in tables]
    rows = (
        pa.concat_tables(seen)
        .group_by(names)
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
        count, kept, concepts = 0, 0, 0
        for file in files:
            table = read_table(file, schema=SUPERVISION, columns=["kept", "concepts"])
            count += len(table)
            kept += pc.sum(table["kept"]).as_py() or 0
            concepts += pc.sum(pc.list_value_length(table["concepts"])).as_py() or 0
        rows.append(
            {
                "rule": rule,
                "there": bool(files),
                "kept": round(kept / max(1, count), 9),
                "concepts": round(concepts / max(1, count), 9),
                "kept_measured": round(float(measures.get("kept", -1)), 9),
                "concepts_measured": round(float(measures.get("concepts_per_image", -1)), 9),
            }
        )
    return pd.DataFrame(rows)
