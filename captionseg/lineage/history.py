"""Reads what every stage made of one pair, and only the columns and rows that this needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from captionseg.datasets.ids import read_ids
from captionseg.lineage.lookup import NEAR, Match, find_near, read_columns, read_row, read_shards
from captionseg.lineage.training import list_recipes
from captionseg.records import CAPTIONS, NEIGHBOURS, SEGMENTS, SIMILARITIES, SUPERVISION
from captionseg.storage.reading import read_array, read_batches, read_json, read_table

pc: Any = compute  # its functions are made when it is imported

History = dict[str, Any]
"""Section -> what a stage made of a pair, in JSON types; None if the stage has not run."""

BATCH = 4096
"""Rows of a table that are in memory at once."""


@dataclass(frozen=True)
class Places:
    """Files of a run: the folders `data` and `models`, and params.yaml."""

    data: Path = Path("data")
    models: Path = Path("models")
    params: Path = Path("params.yaml")

    @property
    def pairs(self) -> Path:
        """Folder of shards."""
        return self.data / "pairs"


def read_history(places: Places, match: Match, *, neighbours: int) -> History:
    """Read everything that the stages made of a pair.

    Args:
        places: files of the run.
        match: the pair.
        neighbours: number of most similar images.

    Returns:
        `pair` (schema PAIRS, and shard), `duplicates`, `marks`, `generated_caption`, `neighbours`,
        `rules`, `segments`, `recipes`. A section whose stage has not run is None.

    Raises:
        UserError: if files are damaged, or from an older version.
    """
    pair = read_row(places.pairs, match)
    ids = read_ids(places.data / "index") if (places.data / "index").is_dir() else None
    rules = read_rules(places.data / "supervision", pair)
    return {
        "pair": pair,
        "duplicates": list_duplicates(places.pairs, match, pair),
        "marks": read_marks(places.data / "supervision", pair),
        "generated_caption": read_generated(places.data / "captions", pair),
        "neighbours": None if ids is None else list_neighbours(places, ids, pair, neighbours),
        "rules": rules,
        "segments": read_segments(places.data / "segments", pair),
        "recipes": list_recipes(places.models, places.params, pair, rules, ids),
    }


# ------------------------------------------------------------------------------------------------
# other pairs


def list_duplicates(pairs: Path, match: Match, pair: dict[str, Any]) -> list[dict[str, Any]]:
    """Other rows of the same image, by its bytes or its perceptual hash; equal bytes first.

    Returns:
        uid, url, caption, status, reason, shard and key of each; `by`, which is original bytes,
        bytes or look; and `distance`, in bits of the perceptual hash.
    """
    names, reasons = ("original_sha256", "sha256", "phash"), {}
    for shard, table in read_shards(pairs, names):
        for name, by in (("original_sha256", "original bytes"), ("sha256", "bytes")):
            if pair[name]:
                same = pc.fill_null(pc.equal(table[name], pair[name]), False).to_numpy()
                reasons |= {(shard, int(row)): (by, 0) for row in same.nonzero()[0]} | reasons
        if pair["phash"]:
            near = find_near(table["phash"], pair["phash"], NEAR)
            reasons |= {(shard, row): ("look", distance) for row, distance in near} | reasons
    reasons.pop((match.shard, match.row), None)
    order = sorted(reasons.items(), key=lambda item: (item[1][0] == "look", item[1][1], item[0]))
    columns = ("uid", "url", "caption", "status", "reason", "key")
    rows = read_places(pairs, [place for place, _ in order], columns)
    return [
        {**row, "by": by, "distance": distance}
        for row, (_, (by, distance)) in zip(rows, order, strict=True)
    ]


def read_places(
    pairs: Path, places: Sequence[tuple[str, int]], columns: Sequence[str]
) -> list[dict[str, Any]]:
    """Read columns, and the shard, of rows (shard, number) of the pairs, in their order."""
    tables = {
        shard: read_columns(pairs, shard, columns) for shard in dict.fromkeys(s for s, _ in places)
    }
    return [{**tables[shard].slice(row, 1).to_pylist()[0], "shard": shard} for shard, row in places]


def list_neighbours(
    places: Places, ids: pa.Table, pair: dict[str, Any], limit: int
) -> list[dict[str, Any]]:
    """The images most similar to that of a pair: uid, similarity, url, caption, shard and key."""
    row = pc.index(ids["uid"], pair["uid"]).as_py()
    index = places.data / "index"
    if row < 0 or not (index / NEIGHBOURS).exists():
        return []
    near, similarity = (
        read_array(index / name, rows=len(ids))[row] for name in (NEIGHBOURS, SIMILARITIES)
    )
    nearest = [
        found for found in zip(near.tolist(), similarity.tolist(), strict=True) if found[0] >= 0
    ][:limit]
    numbers = pa.array([number for number, _ in nearest], pa.int64())
    rows = ids.select(["uid", "shard", "key"]).take(numbers).to_pylist()
    for neighbour, (_, similarity) in zip(rows, nearest, strict=True):
        table = read_columns(places.pairs, neighbour["shard"], ("uid", "url", "caption"))
        position = pc.index(table["uid"], neighbour["uid"]).as_py()
        neighbour |= (
            table.slice(position, 1).to_pylist()[0] if position >= 0 else {"url": "", "caption": ""}
        )
        neighbour["similarity"] = similarity
    return rows


# ------------------------------------------------------------------------------------------------
# outputs of stages


def read_generated(captions: Path, pair: dict[str, Any]) -> str | None:
    """The caption that a model generated for the image; None if there is none."""
    sign = captions / "captions.json"
    key = read_json(sign).get("key") if sign.exists() else ""
    file = captions / str(key) / f"{pair['shard']}.parquet"
    if not key or not file.exists():
        return None
    rows = [*read_rows_of(file, pair["uid"], ("uid", "generated"), CAPTIONS)]
    return rows[0]["generated"] if rows else None


def read_rules(supervision: Path, pair: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """Rule -> kept, drop_reason and concepts (schema CONCEPT) of the pair, if the rule read it."""
    if not supervision.is_dir():
        return None
    rules = {}
    for file in sorted(supervision.glob(f"*/{pair['shard']}.parquet")):
        for row in read_rows_of(file, pair["uid"], SUPERVISION.names, SUPERVISION):
            concepts = [clear_missing(concept) for concept in row["concepts"] or ()]
            rules[file.parent.name] = {**row, "concepts": concepts}
            del rules[file.parent.name]["uid"]
    return rules


def read_marks(supervision: Path, pair: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Marks of the pair, and of its duplicates: uid, kind, reason, twin."""
    file = supervision / "marks" / "marks.parquet"
    if not supervision.is_dir():
        return None
    if not file.exists():  # no marker ran
        return []
    table = read_table(file, columns=["uid", "kind", "reason", "twin"])
    fits = pc.or_kleene(pc.equal(table["uid"], pair["uid"]), pc.equal(table["twin"], pair["uid"]))
    return table.filter(fits).to_pylist()


def clear_missing(values: dict[str, Any]) -> dict[str, Any]:
    """Replace NaN, which JSON lacks, by None."""
    return {name: None if value != value else value for name, value in values.items()}


def read_segments(segments: Path, pair: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Segments of the image, without their masks, the largest first."""
    if not segments.is_dir():
        return None
    file, names = segments / f"{pair['shard']}.parquet", [n for n in SEGMENTS.names if n != "rle"]
    rows = [*read_rows_of(file, pair["uid"], names, SEGMENTS)] if file.exists() else []
    for row in rows:
        del row["uid"]
        row["texts"] = [clear_missing(text) for text in row["texts"]]
    return sorted((clear_missing(row) for row in rows), key=lambda row: -row["area"])


def read_rows_of(
    file: Path, uid: str, names: Sequence[str], schema: pa.Schema
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a pair in a file; no other row becomes a Python object."""
    for batch in read_batches(file, names, BATCH, schema=schema):
        yield from batch.filter(pc.equal(batch["uid"], uid)).to_pylist()
