"""Reads the supervision of several rules side by side, checked against the index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow import compute

from captionseg.datasets.ids import stream_ids
from captionseg.records import UserError
from captionseg.storage.folders import ROWS
from captionseg.supervision.parquet_files import ConceptLists, list_concepts, stream_rows

pc: Any = compute  # its functions are made when it is imported


class RuleRows:
    """The rows of several rules, a part of the training pairs at a time; each rule is read once.

    Args:
        folder: of the curate stage.
        rules: their names.
        vocabulary: [C] that concepts are numbers of.
        index: folder of the index, whose training rows those of each rule must be.

    Raises:
        UserError: if a rule has not been run.
    """

    def __init__(
        self, folder: Path, rules: Sequence[str], vocabulary: Sequence[str], index: Path
    ) -> None:
        self.folder, self.index, self.vocabulary = folder, index, pa.array(vocabulary, pa.string())
        for rule in rules:
            if not (folder / rule).is_dir():
                raise UserError(
                    f"{folder / rule}: rule {rule!r} was not run; add it to curate.rules"
                )
        self.streams = {rule: stream_rows(folder / rule) for rule in dict.fromkeys(rules)}

    def take(self, uids: pa.Array) -> dict[str, ConceptLists]:
        """The next rows of each rule, which are those of training pairs `uids`."""
        found = {}
        for rule, stream in self.streams.items():
            table = stream.take(len(uids))
            if len(uids) and (table is None or not is_same(table["uid"], uids)):
                self.refuse(rule)
            if table is not None:
                found[rule] = list_concepts(table, self.vocabulary)
        return found

    def end(self) -> None:
        """Check that no rule has further rows."""
        for rule, stream in self.streams.items():
            if stream.take(1) is not None:
                self.refuse(rule)

    def refuse(self, rule: str) -> NoReturn:
        """Raise UserError for a rule whose rows are not the training rows of the index."""
        train = {
            uid
            for ids in stream_ids(self.index)
            for uid in ids.filter(pc.equal(ids["split"], "train"))["uid"].to_pylist()
        }
        count, stream = 0, stream_rows(self.folder / rule)
        pairs = len(train)
        while (table := stream.take(ROWS)) is not None:
            train.difference_update(table["uid"].to_pylist())
            count += len(table)
        raise UserError(
            f"{self.folder / rule}: does not match the {pairs} training pairs of the index "
            f"({count} rows, {len(train)} pairs missing); run `dvc repro curate`"
        )


def is_same(column: pa.ChunkedArray, uids: pa.Array) -> bool:
    """Return whether a column holds exactly these uids."""
    return column.equals(pa.chunked_array([uids]))
