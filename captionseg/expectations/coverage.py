"""What is expected of all tables together: nothing was lost, doubled or moved between one stage and
the next.

Counts come from the footers of parquet files and the headers of arrays, rows are compared by
column, so that it stays cheap for millions of pairs.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute

from captionseg.datasets.ids import numbered, pictures_of
from captionseg.expectations.quiet import expect
from captionseg.expectations.suite import Suite, always
from captionseg.records import SUPERVISION, UserError
from captionseg.segment_text.counts import counts_of
from captionseg.storage import read_array, read_json, read_table

pc: Any = compute  # its functions are made when it is imported

ARRAYS = {"features": ("pooled", "descriptor", "dense"), "regions": ("labels", "pooled", "count")}
BY_NUMBER = {"img_emb": ".npy", "text_emb": ".npy", "metadata": ".parquet"}  # of the index
NEAR = ("neighbours", "caption_neighbours")


@dataclass(frozen=True)
class Folders:
    """Where the stages left what is validated; `curation` is the JSON of curate's measures."""

    pairs: Path
    truth: Path
    index: Path
    features: Path
    regions: Path
    supervision: Path
    segments: Path
    curation: Path


@dataclass(frozen=True)
class Asked:
    """What params.yaml says that there must be.

    Attributes:
        rules: of curation, variants too.
        split: whose pictures have segments.
        curation: the rule whose kept rows have them.
    """

    rules: Sequence[str]
    split: str
    curation: str


@dataclass(frozen=True)
class Part:
    """A file, or a number in it: how many rows it has, and how many it should have; -1 where it
    cannot be read.
    """

    name: str
    rows: int
    expected: int
    there: bool = True

    @property
    def said(self) -> str:
        """In words, with the numbers where they differ."""
        return self.name + (
            f" ({self.rows} rows of {self.expected})" if self.rows != self.expected else ""
        )


def suites(folders: Folders, asked: Asked, there: pa.Table, ids: pa.Table) -> list[Suite]:
    """Of a whole run.

    Args:
        folders: where everything lies.
        asked: what must be there.
        there: the successful rows of the pairs, with a column `shard`.
        ids: of the index.
    """
    kept = kept_of(folders.supervision / asked.curation)
    found = [
        *shared(folders, there, len(ids)),
        *supervised(folders, asked, there),
        *segmented(folders, kept, there),
    ]
    parts = pd.DataFrame(
        [{"part": p.said, "there": p.there, "rows": p.rows, "expected": p.expected} for p in found]
    )
    equal = expect.ExpectColumnPairValuesToBeEqual
    rules = of_rules(folders, asked)
    every, columns = of_pairs(folders, asked, there, ids)
    return [
        Suite(
            "rows by shard",
            parts,
            [*always("there"), equal(column_A="rows", column_B="expected")],
            key="part",
        ),
        Suite(
            "splits by shard",
            splits(folders.pairs, there, ids),
            [equal(column_A="pairs", column_B="tar"), equal(column_A="pairs", column_B="index")],
            key="shard",
        ),
        Suite(
            "rules of curation",
            rules,
            [
                *always("there"),
                equal(column_A="kept", column_B="kept_measured"),
                equal(column_A="concepts", column_B="concepts_measured"),
            ],
            key="rule",
        ),
        Suite("pairs in all tables", every, always(*columns)),
    ]


# ------------------------------------------------------------------------------------------------
# rows by shard


def count(table: pa.Table) -> dict[str, int]:
    """Shard -> rows of a table that has a column `shard`, in their order."""
    found = table["shard"].value_counts()
    return dict(
        zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    )


def rows_in(file: Path) -> int:
    """Rows of a parquet file by its footer, or of an array by its header; -1 where it cannot be
    read.
    """
    try:
        return (
            pq.read_metadata(file).num_rows if file.suffix == ".parquet" else len(read_array(file))
        )
    except (OSError, pa.ArrowException, UserError, TypeError):
        return -1


def part(folder: Path, name: str, expected: int) -> Part:
    """A file of a folder, named with the folder that it lies in."""
    file = folder / name
    there = file.is_file()
    return Part(f"{folder.name}/{name}", rows_in(file) if there else 0, expected, there)


def beside(folder: Path, suffix: str, wanted: Sequence[str]) -> Iterator[Part]:
    """Files that belong to no shard; whatever suffix, in whatever letters."""
    for file in sorted(folder.glob("[!.]*")):
        if file.name.lower().endswith(suffix) and file.name not in wanted:
            yield Part(f"{folder.name}/{file.name}, of no shard", max(1, rows_in(file)), 0)


def shared(folders: Folders, there: pa.Table, indexed: int) -> Iterator[Part]:
    """What has a row for each successful pair: pairs, index, features, regions; and the truth's
    shards.
    """
    shards = count(there)
    stats = {
        path.name.removesuffix("_stats.json"): path
        for path in folders.pairs.glob("[0-9]*_stats.json")
    }
    names = sorted(
        {
            *stats,
            *(
                path.stem
                for folder in (folders.pairs, folders.truth)
                for path in folder.glob("[0-9]*.*")
                if path.suffix in (".parquet", ".tar")
            ),
        }
    )
    for shard in names:
        said = read_json(stats[shard]) if shard in stats else {}
        yield part(folders.pairs, f"{shard}.parquet", int(said.get("count", -1)))
        yield Part(
            f"pairs/{shard}_stats.json, successes",
            int(said.get("successes", -1)),
            shards.get(shard, 0),
            shard in stats,
        )
        for file in (folders.pairs / f"{shard}.tar", folders.truth / f"{shard}.parquet"):
            yield Part(f"{file.parent.name}/{file.name}", 0, 0, file.is_file())
    for folder, kinds in (
        (folders.features, ARRAYS["features"]),
        (folders.regions, ARRAYS["regions"]),
    ):
        for kind in kinds:
            wanted = {f"{kind}_{shard}.npy": rows for shard, rows in shards.items() if rows}
            yield from (part(folder / kind, name, rows) for name, rows in wanted.items())
            yield from beside(folder / kind, ".npy", list(wanted))
    for kind, suffix in BY_NUMBER.items():
        wanted = {f"{kind}_{number}{suffix}": rows for number, rows in numbered(shards).items()}
        yield from (part(folders.index / kind, name, rows) for name, rows in wanted.items())
        yield from beside(folders.index / kind, suffix, list(wanted))
    yield Part("index/ids.parquet", indexed, len(there))
    yield from (part(folders.index, f"{name}.parquet", len(there)) for name in NEAR)
    yield from (
        Part(f"index/{name}.index", 0, 0, (folders.index / f"{name}.index").is_file())
        for name in ("image", "text")
    )


def supervised(folders: Folders, asked: Asked, there: pa.Table) -> Iterator[Part]:
    """Every rule has a row for each training pair."""
    shards = count(there.filter(pc.equal(there["split"], "train")))
    for rule in asked.rules:
        wanted = {f"{shard}.parquet": rows for shard, rows in shards.items()}
        for name, rows in wanted.items():
            found = part(folders.supervision / rule, name, rows)
            yield Part(f"supervision/{found.name}", found.rows, rows, found.there)
        yield from beside(folders.supervision / rule, ".parquet", list(wanted))
    vocabulary = folders.supervision / "vocabulary"
    yield part(vocabulary, "embedding.npy", rows_in(vocabulary / "concepts.parquet"))


def segmented(folders: Folders, kept: set[str], there: pa.Table) -> Iterator[Part]:
    """Every kept pair of the split was asked about, with its picture, and what was found is in the
    tables still.
    """
    pairs = there.filter(pc.is_in(there["uid"], pa.array(sorted(kept), pa.string())))
    wanted, pictures = count(pairs), count(of_pictures(pairs))
    for shard, rows in wanted.items():
        file, notes = (
            folders.segments / f"{shard}.parquet",
            folders.segments / f"{shard}_stats.json",
        )
        said = counts_of(notes) if notes.is_file() else {}
        number = {
            name: said.get(name, 0)
            for name in ("images", "pairs_joined", "images_without_segments")
        }
        yield Part(
            f"segments/{notes.name}, pairs",
            number["images"] + number["pairs_joined"],
            rows,
            notes.is_file(),
        )
        yield Part(f"segments/{notes.name}, pictures", number["images"], pictures[shard])
        yield part(folders.segments, file.name, said.get("segments", -1))
        if file.is_file():
            table = read_table(file, columns=["uid", "texts"])
            with_some = number["images"] - number["images_without_segments"]
            texts = pc.sum(pc.list_value_length(table["texts"])).as_py() or 0
            yield Part(
                f"segments/{file.name}, pictures",
                pc.count_distinct(table["uid"]).as_py(),
                with_some,
            )
            yield Part(f"segments/{file.name}, texts", texts, said.get("texts", -1))
    yield from beside(folders.segments, ".parquet", [f"{shard}.parquet" for shard in wanted])


def of_pictures(pairs: pa.Table) -> pa.Table:
    """Shard and number of each picture of some pairs; in two shards it is two, as segment_text has
    it.
    """
    both = pa.table({"shard": pairs["shard"], "picture": pictures_of(pairs)})
    return both.group_by(["shard", "picture"]).aggregate([])


def kept_of(folder: Path) -> set[str]:
    """uids of the rows that a rule keeps; none where it left nothing."""
    files = sorted(folder.glob("*.parquet"))
    tables = (read_table(file, schema=SUPERVISION, columns=["uid", "kept"]) for file in files)
    return {uid for table in tables for uid in table.filter(table["kept"])["uid"].to_pylist()}


# ------------------------------------------------------------------------------------------------
# splits, rules, pairs


def splits(pairs: Path, there: pa.Table, ids: pa.Table) -> pd.DataFrame:
    """A row for each shard: its split by its table, by what stands beside the first picture of its
    tar, by the index.

    A training pair that is really one of the test split would be learnt from, and scored.
    """
    by_table, by_index = (splits_of(table) for table in (there, ids))
    rows = [
        (shard, split, split_of(pairs / f"{shard}.tar"), by_index.get(shard, "none"))
        for shard, split in by_table.items()
    ]
    return pd.DataFrame(rows, columns=["shard", "pairs", "tar", "index"])


def splits_of(table: pa.Table) -> dict[str, str]:
    """Shard -> its split, by the rows of a table; several are joined."""
    rows = (
        table.group_by(["shard", "split"])
        .aggregate([])
        .sort_by([("shard", "ascending"), ("split", "ascending")])
    )
    found: dict[str, list[str]] = {}
    for shard, split in zip(rows["shard"].to_pylist(), rows["split"].to_pylist(), strict=True):
        found.setdefault(shard, []).append(str(split))
    return {shard: ",".join(names) for shard, names in found.items()}


def split_of(path: Path) -> str:
    """The split in the first JSON of a tar."""
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


def of_rules(folders: Folders, asked: Asked) -> pd.DataFrame:
    """A row for each rule: share of kept rows and mean number of concepts, now, and as curate
    measured them.

    The means are over all rows, so a single concept that was lost moves them.
    """
    measured, rows = read_json(folders.curation), []
    for rule in asked.rules:
        files = sorted((folders.supervision / rule).glob("*.parquet"))
        said = measured.get(rule, {})
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
                "kept_measured": round(float(said.get("kept", -1)), 9),
                "concepts_measured": round(float(said.get("concepts_per_image", -1)), 9),
            }
        )
    return pd.DataFrame(rows)


def of_pairs(
    folders: Folders, asked: Asked, there: pa.Table, ids: pa.Table
) -> tuple[pd.DataFrame, list[str]]:
    """A row for each uid that is in any table, and the columns that must be True.

    pair: it is a successful pair. indexed: the index has it once, with the same shard, key and
    split. truth: its mask is known at most once. supervision RULE: the rule has it once if it is of
    the training split, else never.
    """
    pairs = (
        there.select(["uid", "shard", "key", "split"])
        .to_pandas()
        .drop_duplicates("uid")
        .set_index("uid")
    )
    given = (
        ids.select(["uid", "shard", "key", "split"])
        .to_pandas()
        .drop_duplicates("uid")
        .set_index("uid")
    )
    times = {"index": times_of([ids]), "truth": times_of(tables_of(folders.truth))}
    times |= {rule: times_of(tables_of(folders.supervision / rule)) for rule in asked.rules}
    every = pairs.index
    for found in times.values():
        every = every.append(found.index[~found.index.isin(every)])
    here, there_too = pairs.reindex(every), given.reindex(every)
    number: Mapping[str, pd.Series] = {
        name: found.reindex(every, fill_value=0) for name, found in times.items()
    }
    rows = pd.DataFrame({"uid": every, "pair": every.isin(pairs.index)})
    rows["indexed"] = ((number["index"] == 1) & (here == there_too).all(axis=1)).to_numpy()
    rows["truth"] = (number["truth"] <= 1).to_numpy()
    train = (here["split"] == "train").to_numpy()
    for rule in asked.rules:
        rows[f"supervision {rule}"] = number[rule].to_numpy() == train
    return rows, [name for name in rows if name != "uid"]


def tables_of(folder: Path) -> list[pa.Table]:
    """Column uid of the parquet files of a folder, which may hold none."""
    return [read_table(file, columns=["uid"]) for file in sorted(folder.glob("*.parquet"))]


def times_of(tables: Sequence[pa.Table]) -> pd.Series:
    """uid -> how many rows have it."""
    columns = [table["uid"].cast(pa.string()) for table in tables]
    found = pa.chunked_array(
        [chunk for column in columns for chunk in column.chunks], pa.string()
    ).value_counts()
    return pd.Series(
        found.field("counts").to_numpy(),
        index=pd.Index(found.field("values").to_pylist(), dtype=object),
    )
