"""What reports/data.html shows: the data themselves, whatever source they come from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute

from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.data_page.caption_statistics import (
    count_captions_per_picture,
    describe_captions,
)
from captionseg.reporting.data_page.concept_statistics import count_concepts, count_drops
from captionseg.reporting.data_page.outcomes import (
    count_duplicates,
    count_outcomes,
    count_splits,
    describe_sizes,
    read_rows,
    select_pictures,
)
from captionseg.reporting.overlay import fit
from captionseg.reporting.params import ReportParams
from captionseg.reporting.pictures import SHEET, draw, save
from captionseg.reporting.rendering import View

pc: Any = compute  # its functions are made when it is imported

SMALL = 160
"""Longest side of a picture of the sheet, in pixels."""

GROUPS, MEMBERS = 4, 4
"""Groups of duplicates that are shown of each kind, and pictures of each."""


def build_context(
    run: Artifacts, params: ReportParams, folder: Path, *, source: str, seed: int
) -> dict[str, Any]:
    """What the template shows; its pictures are written.

    Args:
        run: the artifacts.
        params: section `report`.
        folder: for pictures.
        source: of the data, by its name in section `download`.
        seed: of which pictures are shown.
    """
    rows = read_rows(run.folders.prepared.pairs)
    pictures = select_pictures(rows)
    duplicates = count_duplicates(pictures)
    return {
        "source": source,
        "seed": seed,
        "rows": len(rows),
        "pairs": len(pictures),
        "different": pc.count_distinct(pictures["sha256"]).as_py(),
        "outcomes": count_outcomes(rows),
        "splits": count_splits(rows),
        "captions": describe_captions(pictures),
        "per_picture": count_captions_per_picture(pictures),
        "concepts": count_concepts(run.folders.supervision, run.rules, params.concepts),
        "drops": count_drops(run.folders.supervision, run.rules),
        "duplicates": duplicates,
        "alike": show_duplicates(run, pictures, duplicates, folder) if params.sheet else {},
        "sizes": describe_sizes(pictures),
        "sheet": show_sheet(run, pictures, params.sheet, folder, seed=seed),
    }


def show_sheet(
    run: Artifacts, pictures: pa.Table, count: int, folder: Path, *, seed: int
) -> list[View]:
    """Small pictures of all splits, drawn at random, each with its caption."""
    chosen = draw(pictures["uid"].to_pylist(), count, seed=seed, stream=SHEET)
    return list(write_small(run, pictures, chosen, folder, "sheet"))


def show_duplicates(
    run: Artifacts, pictures: pa.Table, found: Mapping[str, View], folder: Path
) -> dict[str, list[list[View]]]:
    """Some pictures of the largest groups of duplicates, of each kind."""
    shown: dict[str, list[list[View]]] = {}
    for kind, by, other in (("exact", "sha256", "url"), ("near", "phash", "sha256")):
        shown[kind] = [
            list(write_small(run, pictures, members, folder, f"{kind}_{number}"))
            for number, members in enumerate(
                (list_members(pictures, by, key, other) for key in found[kind]["keys"][:GROUPS]), 1
            )
        ]
    return shown


def list_members(pictures: pa.Table, by: str, key: str, other: str) -> list[str]:
    """uids of a group of duplicates, one of each value of the other column."""
    group = pictures.filter(pc.equal(pictures[by], key)).select(["uid", other]).to_pylist()
    one = {row[other]: row["uid"] for row in reversed(group)}
    return list(itertools.islice(reversed(one.values()), MEMBERS))


def write_small(
    run: Artifacts, pictures: pa.Table, uids: Sequence[str], folder: Path, stem: str
) -> Iterator[View]:
    """Pictures, small, with caption, split and URL."""
    rows = pictures.filter(pc.is_in(pictures["uid"], pa.array(uids, pa.string())))
    known = {row["uid"]: row for row in rows.select(["uid", "caption", "split", "url"]).to_pylist()}
    images = run.images(uids)
    for number, uid in enumerate(uids, start=1):
        saved = save(fit(images[uid], SMALL), folder, f"{stem}_{number:02d}.jpg")
        yield {**saved, **known[uid]}
