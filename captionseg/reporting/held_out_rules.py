"""The rules of a run, measured by held-out captions of some of its pictures.

Stage curate measures all training pictures. To choose values on some pictures and to judge them on
others, the same measures are wanted of a part.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from captionseg.curation.held_out import DRAWN, RANKED, match_held_out, measure_held_out
from captionseg.curation.rules import TAKEN
from captionseg.datasets.pair_tables import read_pairs
from captionseg.records import UserError
from captionseg.storage.reading import read_json, read_table
from captionseg.supervision import parquet_files
from captionseg.text.vocabulary import Vocabulary

SLICE = re.compile(r"(\d*):(\d*)")


def parse_rows(text: str) -> slice:
    """`2000:` -> slice(2000, None), `:2000` -> slice(None, 2000).

    Raises:
        UserError: for anything but two natural numbers, either of which may be left out, and a
            colon between them.
    """
    match = SLICE.fullmatch(text.strip())
    if not match:
        raise UserError(f"--rows: {text!r} is no range of rows such as :2000, 2000: or 1000:2000")
    start, stop = (int(part) if part else None for part in match.groups())
    return slice(start, stop)


def measure_rules(
    pairs: Path, supervision: Path, rows: slice, *, sampled: int, seed: int
) -> dict[str, dict[str, float]]:
    """Rule -> the measures of captionseg.curation.held_out.measure_held_out.

    Args:
        pairs: folder of the download stage.
        supervision: folder of the curate stage.
        rows: which pairs count, by their places when the pairs of all splits are sorted by their
            source row; of these, the training pictures that no marker left out and that have
            held-out captions.
        sampled: L, how many concepts a picture are drawn a step.
        seed: of the draws and of the bootstrap.

    Raises:
        UserError: if a folder is missing, damaged or from another run, or no picture is left.
    """
    table = read_pairs(pairs).select(["uid", "caption", "held_out_captions", "source_row"])
    uids, captions, others, places = (column.to_pylist() for column in table.columns)
    order = sorted(range(len(uids)), key=lambda row: split_place(places[row] or ""))
    chosen = [uids[row] for row in order[rows]]
    caption, held_out = dict(zip(uids, captions)), dict(zip(uids, others))
    vocabulary = read_vocabulary(supervision / "vocabulary")
    rules = {
        rule: parquet_files.read(supervision / rule, vocabulary.concepts)
        for rule in list_rules(supervision)
    }
    uid = next(iter(rules.values())).uid
    for rule, columns in rules.items():
        if not np.array_equal(columns.uid, uid) or not np.isin(uid, uids).all():
            raise UserError(
                f"{supervision / rule}: has other rows than {pairs} or than other rules; run "
                "`dvc repro curate`"
            )
    own = vocabulary.match_captions([caption[key] for key in uid])
    matrix, measured = match_held_out(vocabulary, uid, {key: held_out[key] or () for key in uid})
    measured &= np.isin(uid, chosen)
    result = {
        rule: measure_held_out(
            columns, own, matrix, measured & columns.kept, sampled=sampled, seed=seed
        )
        for rule, columns in rules.items()
    }
    if not all(result.values()):
        raise UserError(
            f"{pairs}: none of these rows is a training picture with held-out captions; see "
            "`captions` in docs/data.md"
        )
    return result


def split_place(source_row: str) -> tuple[str, int, str]:
    """A key by which a.csv:9 comes before a.csv:10."""
    file, _, row = source_row.rpartition(":")
    return (file, int(row), row) if row.isdecimal() else (source_row, 0, "")


def read_vocabulary(folder: Path) -> Vocabulary:
    """The vocabulary that stage curate wrote, with its plurals.

    Raises:
        UserError: if a file is missing or damaged.
    """
    words = read_table(folder / "concepts.parquet")["text"].to_pylist()
    return Vocabulary(tuple(words), read_json(folder / "lemma.json"))


def list_rules(supervision: Path) -> list[str]:
    """The rules whose supervision a run has, by name.

    Raises:
        UserError: if there is none.
    """
    rules = sorted(
        path.name
        for path in Path(supervision).glob("[!.]*")
        if path.is_dir() and path.name not in TAKEN
    )
    if not rules:
        raise UserError(f"{supervision}: no rule's supervision; run `dvc repro curate` first")
    return rules


def format_measures(measures: dict[str, dict[str, float]]) -> list[str]:
    """A table for a terminal: a line a rule, each value with its 95 % interval."""
    first = next(iter(measures.values()))
    names = RANKED + DRAWN
    cells = [["rule", *names]] + [
        [rule]
        + [
            f"{values[name]:.3f} ({values[f'{name}_low']:.3f}-{values[f'{name}_high']:.3f})"
            for name in names
        ]
        for rule, values in measures.items()
    ]
    width = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, width)).rstrip() for row in cells]
    return [f"{first['pictures']:.0f} pictures with held-out captions; 95 % intervals", *lines]
