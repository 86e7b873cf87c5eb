"""Pairs of a run for the page: lists of them, and all that curation made of one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.api.neighbour_sheet import Neighbour, add_pictures
from captionseg.datasets.ids import read_ids
from captionseg.datasets.pair_tables import list_shards
from captionseg.lineage.history import (
    Places,
    clear_missing,
    list_neighbours,
    read_rows_of,
    read_rules,
)
from captionseg.lineage.lookup import Match, read_columns, read_row
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text.rle import decode

pc: Any = compute  # its functions are made when it is imported

PAGE = 24  # pairs of a list
NEIGHBOURS = 12  # pictures beside a pair
MOST_SEGMENTS = 24  # of a pair that are shown, the largest
COLUMNS = ("uid", "key", "caption", "split", "status", "reason")


@dataclass(frozen=True)
class Pair:
    """A pair in a list.

    Attributes:
        shard, row: where it is.
        uid, key, caption, split, status, reason: see `captionseg.records.PAIRS`.
    """

    shard: str
    row: int
    uid: str
    key: str
    caption: str
    split: str
    status: str
    reason: str | None

    @property
    def has_picture(self) -> bool:
        """Whether its picture could be had."""
        return self.status == "success"


@dataclass(frozen=True)
class Listing:
    """A part of a list of pairs.

    Attributes:
        pairs: at most PAGE of them.
        first: number of the first of them in the list, from 1.
        more: whether others follow.
    """

    pairs: list[Pair]
    first: int
    more: bool


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment of a picture.

    Attributes:
        mask: bool [H, W].
        row: row of schema SEGMENTS.
    """

    mask: np.ndarray
    row: dict[str, Any]

    @property
    def texts(self) -> list[tuple[str, float | None]]:
        """Its texts with their scores, the best grounded first, each once."""
        texts = [clear_missing(text) for text in self.row["texts"]]
        scores: dict[str, float | None] = {}
        for text in sorted(texts, key=lambda text: -(text["score"] or 0)):
            scores.setdefault(text["text"], text["score"])
        return list(scores.items())


@dataclass(frozen=True, eq=False)
class PairView:
    """What a page shows of a pair.

    Attributes:
        pair: row of schema PAIRS, and its shard.
        rules: rule -> what it made of the pair, see `captionseg.lineage.history.read_rules`.
        rows: the pair, if it has a picture, and its neighbours.
        images: their pictures, uint8 [H, W, 3] each.
        segments: the largest segments of the picture.
        unshown: number of further segments.
    """

    pair: dict[str, Any]
    rules: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]
    images: list[np.ndarray]
    segments: list[Segment]
    unshown: int

    def list_concepts(self, rule: str) -> list[dict[str, Any]]:
        """List the concepts that a rule gave the pair, schema CONCEPT."""
        return self.rules[rule]["concepts"] if rule in self.rules else []

    def list_pictured(self, rule: str) -> list[Neighbour]:
        """List the pair and its neighbours, with which of a rule's concepts each caption names."""
        return add_pictures(self.rows, self.images, [c["text"] for c in self.list_concepts(rule)])


class PairBrowser:
    """The pairs of a run.

    Attributes:
        places: files of the run.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self._ids: tuple[object, pa.Table | None] = (None, None)

    @property
    def missing(self) -> str:
        """What is missing, and what to run for it; empty if there are pairs."""
        try:
            list_shards(self.places.pairs)
        except UserError as error:
            return f"{error}, or name the data of a run with --data"
        return ""

    def list_pairs(self, page: int = 0, *, query: str = "", split: str = "") -> Listing:
        """List pairs in the order of the shards, which are read until the page is full.

        Args:
            page: number of the page, from 0.
            query: what the caption contains, or the uid begins with; capitals do not matter.
            split: train, tune or test; empty means any.

        Raises:
            UserError: for damaged or outdated files.
        """
        found = self._select(" ".join(query.split()), split)
        start = page * PAGE
        pairs = list(itertools.islice(found, start, start + PAGE + 1))
        return Listing(pairs[:PAGE], start + 1, len(pairs) > PAGE)

    def _select(self, query: str, split: str) -> Iterator[Pair]:
        for shard in list_shards(self.places.pairs):
            table = read_columns(self.places.pairs, shard, COLUMNS)
            fits = np.ones(len(table), bool)
            if query:
                named = pc.match_substring(table["caption"], query, ignore_case=True)
                begins = pc.starts_with(table["uid"], query.lower())
                fits &= pc.fill_null(pc.or_kleene(named, begins), False).to_numpy()
            if split:
                fits &= pc.fill_null(pc.equal(table["split"], split), False).to_numpy()
            for row in np.flatnonzero(fits).tolist():
                yield Pair(shard, row, **table.slice(row, 1).to_pylist()[0])

    def find(self, uid: str) -> Pair | None:
        """Find a pair by its whole uid."""
        return next((pair for pair in self._select(uid, "") if pair.uid == uid), None)

    def read_images(self, pairs: list[Pair]) -> dict[str, np.ndarray]:
        """Read the pictures of pairs that have one, uid -> uint8 [H, W, 3].

        Raises:
            UserError: for damaged files.
        """
        there = [pair for pair in pairs if pair.has_picture]
        images = read_pictures(self.places.pairs, [vars(pair) for pair in there])
        return {pair.uid: image for pair, image in zip(there, images, strict=True)}

    def read(self, pair: Pair) -> PairView:
        """Read all that a page shows of a pair.

        Raises:
            UserError: for damaged or outdated files.
        """
        data = self.places.data
        row = read_row(self.places.pairs, Match(pair.shard, pair.row, "uid"))
        rows = [row] if pair.has_picture else []
        if rows and (ids := self._read_ids()) is not None:
            rows += list_neighbours(self.places, ids, row, NEIGHBOURS)
        segments = read_segments(data / "segments", row) if rows else []
        return PairView(
            row,
            read_rules(data / "supervision", row) or {},
            rows,
            read_pictures(self.places.pairs, rows),
            [decode_segment(segment) for segment in segments[:MOST_SEGMENTS]],
            max(0, len(segments) - MOST_SEGMENTS),
        )

    def _read_ids(self) -> pa.Table | None:
        """Read the ids of the index once, and again after a run has changed them."""
        index = self.places.data / "index"
        if not index.is_dir():
            return None
        state = (index / "ids.parquet").stat().st_mtime_ns
        if self._ids[0] != state:
            self._ids = (state, read_ids(index))
        return self._ids[1]


def read_pictures(pairs: Path, rows: list[dict[str, Any]]) -> list[np.ndarray]:
    """Read the pictures of rows with `shard` and `key`, uint8 [H, W, 3] each."""
    from captionseg.datasets.random_access import Pictures

    pictures = Pictures(pairs, [row["shard"] for row in rows], [row["key"] for row in rows])
    return [pictures[number] for number in range(len(rows))]


def read_segments(segments: Path, pair: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the segments of a pair's picture, rows of schema SEGMENTS, the largest first."""
    file = segments / f"{pair['shard']}.parquet"
    rows = read_rows_of(file, pair["uid"], SEGMENTS.names, SEGMENTS) if file.exists() else ()
    return sorted(rows, key=lambda row: -row["area"])


def decode_segment(row: dict[str, Any]) -> Segment:
    """Return a segment with its mask."""
    return Segment(decode([row["rle"]], row["height"], row["width"])[0], row)
