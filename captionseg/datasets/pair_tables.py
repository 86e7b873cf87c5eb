"""Reads the tables of shards and of their truth strictly: damage is a UserError, never a null."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from captionseg.records import PAIRS, TRUTH, ClassTable, UserError
from captionseg.storage.folders import read_tables
from captionseg.storage.reading import explain_read_errors, read_json, read_table

pc: Any = compute  # its functions are made when it is imported

SHARD_FILE = re.compile(r"(\d{5,})(\.tar|\.parquet|_stats\.json)", re.IGNORECASE)
ENDS = (".tar", ".parquet", "_stats.json")


def advise_download(shard: str) -> str:
    """What to do about a damaged shard, for messages."""
    return f"delete {shard}_stats.json and download again"


def list_shards(pairs: Path) -> list[str]:
    """Names of the finished shards, in order.

    Raises:
        UserError: if there is none, one lacks a file or has it under another name, or a number is
            missing.
    """
    suffixes: dict[str, set[str]] = {}
    for path in sorted(Path(pairs).glob("[!.]*")):
        if shard := SHARD_FILE.fullmatch(path.name):
            if shard[2] not in ENDS:
                raise UserError(
                    f"{path}: its name should end in {shard[2].lower()}, in small letters; rename "
                    "it"
                )
            suffixes.setdefault(shard[1], set()).add(shard[2])
    if not suffixes:
        raise UserError(f"{pairs}: no finished shard; run `dvc repro download` first")
    for number, name in enumerate(sorted(suffixes, key=int)):
        if int(name) != number:
            raise UserError(
                f"{pairs}: shard {number:05d} is missing before {name}; run `dvc repro download`"
            )
        if missing := [end for end in ENDS if end not in suffixes[name]]:
            raise UserError(
                f"{pairs / name}{missing[0]}: no such file, but others of the shard are there; "
                "run `dvc repro download`"
            )
    return sorted(suffixes, key=int)


def read_shard(pairs: Path, shard: str) -> pa.Table:
    """All rows of a shard, failures too, schema PAIRS.

    Raises:
        UserError: if columns are missing or of other types, or the numbers of rows differ from the
            stats.
    """
    path = pairs / f"{shard}.parquet"
    table = read_table(path, schema=PAIRS, todo=advise_download(shard))
    stats = read_json(pairs / f"{shard}_stats.json", todo=advise_download(shard))
    counts = len(table), pc.sum(pc.equal(table["status"], "success")).as_py() or 0
    if counts != (stats.get("count"), stats.get("successes")):
        raise UserError(
            f"{path}: {counts[0]} rows with {counts[1]} successes, but {shard}_stats.json has "
            f"{stats.get('count')} with {stats.get('successes')}; {advise_download(shard)}"
        )
    if incomplete := [name for name in ("uid", "key", "split", "status") if table[name].null_count]:
        raise UserError(
            f"{path}: {table[incomplete[0]].null_count} rows without {incomplete[0]}; "
            f"{advise_download(shard)}"
        )
    return table


def read_pairs(pairs: Path, columns: Sequence[str] = PAIRS.names) -> pa.Table:
    """The successful rows of all shards, columns of PAIRS and a column `shard`, in shard order.

    Args:
        pairs: folder of the shards.
        columns: which are kept in memory; `uid` is one of them.

    Raises:
        UserError: if a shard is damaged, see `read_shard`, or a pair is repeated.
    """
    tables = []
    for name in list_shards(pairs):
        table = read_shard(pairs, name)
        table = table.filter(pc.equal(table["status"], "success")).select(columns)
        tables.append(table.append_column("shard", pa.array([name] * len(table), pa.string())))
    whole = pa.concat_tables(tables).combine_chunks()
    if pc.count_distinct(whole["uid"]).as_py() != len(whole):
        counts = whole["uid"].value_counts()
        repeated = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        shards = whole.filter(pc.equal(whole["uid"], repeated))["shard"].to_pylist()
        raise UserError(
            f"{pairs}: uid {repeated} is there {len(shards)} times, in "
            f"{', '.join(dict.fromkeys(shards))}; a pair counts once, remove it from the source"
        )
    return whole


def count_pairs(pairs: Path) -> dict[str, int]:
    """Shard -> its number of successful rows, in order, by its stats; without empty shards."""
    counts = {}
    for shard in list_shards(pairs):
        stats = read_json(pairs / f"{shard}_stats.json", todo=advise_download(shard))
        counts[shard] = int(stats["successes"])
    return {shard: count for shard, count in counts.items() if count}


def list_held_out(table: pa.Table) -> dict[str, list[str]]:
    """uid -> captions of the image that no rule may see; pairs without any are left out.

    Args:
        table: of `read_pairs`.
    """
    table = table.select(["uid", "held_out_captions"])
    table = table.filter(pc.greater(pc.list_value_length(table["held_out_captions"]), 0))
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def read_truth(truth: Path) -> pa.Table:
    """All rows of a truth folder, schema TRUTH; empty if no ground truth is known."""
    if not any(Path(truth).glob("*.[Pp]*")):
        return TRUTH.empty_table()
    return read_tables(truth, schema=TRUTH).combine_chunks()


def read_classes(truth: Path) -> ClassTable:
    """The classes of a truth folder.

    Raises:
        UserError: if the file is damaged, or names no classes.
    """
    path, todo = Path(truth) / "classes.json", "run `dvc repro download`"
    content = read_json(path, todo=todo)
    with explain_read_errors(path, todo):
        lists = [content["names"], content["kinds"]]
        if not all(
            isinstance(words, list) and all(isinstance(word, str) for word in words)
            for words in lists
        ):
            raise TypeError("names and kinds should be lists of words")
        if len(lists[0]) != len(lists[1]):
            raise ValueError(f"{len(lists[0])} names, but {len(lists[1])} kinds")
        return ClassTable(*map(tuple, lists))
