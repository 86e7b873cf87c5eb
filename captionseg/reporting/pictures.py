"""The page's pictures of data and segments, with their descriptions. They are drawn at random from
the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from captionseg.reporting.artifacts import Artifacts, of
from captionseg.reporting.overlay import (
    IGNORED,
    draw_overlay,
    fit,
    format_hexes,
    make_palette,
    write_picture,
)
from captionseg.reporting.params import ReportParams
from captionseg.reporting.rendering import View
from captionseg.segment_text.measure import build_namer
from captionseg.segment_text.rle import decode
from captionseg.text.vocabulary import Vocabulary, find_plurals

SHOWN, THUMBNAIL = 448, 112  # longest side of a picture on the page, in pixels

# each kind of picture has draws of its own
DATA, EXAMPLES, SEGMENTS, SCENES, HEAT, SHEET = range(6)


def draw(uids: Collection[str], count: int, *, seed: int, stream: int) -> list[str]:
    """Draw at most `count` ids in random order; the order of `uids` does not matter."""
    order = np.random.default_rng([seed, stream]).permutation(len(uids))[:count]
    ordered = sorted(uids)
    return [ordered[i] for i in order]


def save(picture: np.ndarray, folder: Path, file: str) -> View:
    """Write a picture for a page, shrunk to SHOWN; return its file, width and height in pixels."""
    small = fit(picture, SHOWN)
    write_picture(small, folder / file)
    return {"file": file, "width": small.shape[1], "height": small.shape[0]}


def find_names(captions: Sequence[str], names: Sequence[str]) -> list[set[str]]:
    """Return the names that each caption contains, word for word."""
    matrix = Vocabulary(tuple(names), find_plurals(names, captions)).match_captions(captions)
    return [
        {str(names[c]) for c in matrix.indices[a:b]} for a, b in itertools.pairwise(matrix.indptr)
    ]


# ------------------------------------------------------------------------------------------------
# the data


def show_data(run: Artifacts, params: ReportParams, folder: Path, *, seed: int) -> View:
    """Show the number of pictures, the concepts that captions leave out, and training pictures."""
    splits = [row["split"] for row in run.pairs.values()]
    chosen = draw(
        [uid for uid, row in run.pairs.items() if row["split"] == "train"],
        params.pictures,
        seed=seed,
        stream=DATA,
    )
    images = run.images(chosen)
    named = find_names([run.pairs[uid]["caption"] for uid in chosen], run.classes.names)
    views = []
    for number, (uid, words) in enumerate(zip(chosen, named, strict=True), start=1):
        shown = [
            {"text": text, "named": text in words}
            for text in sorted(run.known_classes.get(uid, ()))
        ]
        views.append(
            {
                **save(images[uid], folder, f"data_{number:02d}.jpg"),
                "caption": run.pairs[uid]["caption"],
                "shown": sorted(shown, key=lambda s: not s["named"]),
            }
        )
    return {
        "splits": {split: splits.count(split) for split in dict.fromkeys(splits)},
        "pictures": views,
        "gap": measure_concept_gap(run),
        "failed": len(run.statuses) - len(run.pairs),
    }


def measure_concept_gap(run: Artifacts) -> list[View]:
    """Count the known concepts that training pictures show and that their captions name, in total
    and by kind.
    """
    uids = [
        uid
        for uid, row in run.pairs.items()
        if row["split"] == "train" and uid in run.known_classes
    ]
    if not uids:
        return []
    captioned = find_names([run.pairs[uid]["caption"] for uid in uids], run.classes.names)
    kind = dict(zip(run.classes.names, run.classes.kinds or itertools.repeat(""), strict=False))
    rows = []
    for name in ["", *sorted(set(run.classes.kinds))]:
        shown = [
            {c for c in run.known_classes[uid] if not name or kind.get(c) == name} for uid in uids
        ]
        total, named = (
            sum(map(len, shown)),
            sum(len(a & b) for a, b in zip(shown, captioned, strict=True)),
        )
        classes = sum(1 for k in kind.values() if not name or k == name)
        rows.append(
            {
                "kind": name or "all",
                "classes": classes,
                "shown": total / len(uids),
                "named": named / len(uids),
                "share": 100.0 * named / max(1, total),
            }
        )
    return rows


# ------------------------------------------------------------------------------------------------
# segments


def show_segments(run: Artifacts, params: ReportParams, folder: Path, *, seed: int) -> list[View]:
    """Show training pictures with their segments and the texts of each."""
    uids = set(run.segments["uid"].to_pylist())
    chosen = draw(uids, params.segments, seed=seed, stream=SEGMENTS)
    images, masks = run.images(chosen), run.masks(chosen)
    rows: dict[str, list[dict]] = {uid: [] for uid in chosen}
    for row in of(run.segments, chosen).to_pylist():
        rows[row["uid"]].append(row)
    says = build_namer(
        sorted({t["text"] for segments in rows.values() for s in segments for t in s["texts"]}),
        run.classes.names,
    )
    views = []
    for number, uid in enumerate(chosen, start=1):
        segments = sorted(rows[uid], key=lambda r: (-r["area"], r["segment_id"]))
        inside = decode([r["rle"] for r in segments], segments[0]["height"], segments[0]["width"])
        colours = make_palette(len(segments))
        drawn = draw_overlay(images[uid], paint_segments(inside, segments), colours)
        views.append(
            {
                "picture": save(images[uid], folder, f"segments_{number}_picture.jpg"),
                "drawn": save(drawn, folder, f"segments_{number}.jpg"),
                "caption": run.pairs[uid]["caption"],
                "segments": [
                    describe_texts(row, colour, mask, masks.get(uid), says)
                    for row, colour, mask in zip(
                        segments, format_hexes(colours), inside, strict=True
                    )
                ],
            }
        )
    return views


def paint_segments(inside: np.ndarray, rows: Sequence[dict]) -> np.ndarray:
    """Paint segments as labels [H, W]: small ones on top of large ones, whole-picture segments left
    out.
    """
    labels = np.full(inside.shape[1:], IGNORED, np.int16)
    for number, (mask, row) in enumerate(zip(inside, rows, strict=True)):
        if not row["full_image"]:
            labels[mask] = number
    return labels


def describe_texts(
    row: dict, colour: str, mask: np.ndarray, true: np.ndarray | None, says: dict[str, set[int]]
) -> View:
    """Describe a segment's texts; one that names a class is right if that class covers most of the
    segment.

    Expressions also name other things and are not judged.
    """
    counts = (
        np.bincount(true[mask & (true != IGNORED)], minlength=1)
        if true is not None
        else np.zeros(1)
    )
    major = int(counts.argmax()) if counts.sum() else None
    texts = [
        {
            "text": t["text"],
            "kind": t["kind"],
            "right": None
            if major is None or t["kind"] == "expression" or not says[t["text"]]
            else major in says[t["text"]],
        }
        for t in row["texts"]
    ]
    return {"colour": colour, "whole": row["full_image"], "texts": texts}
