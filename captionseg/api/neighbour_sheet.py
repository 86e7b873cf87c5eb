"""A pair, its neighbours, and which concepts their captions gave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from captionseg.datasets.random_access import Pictures
from captionseg.lineage.history import History, Places
from captionseg.records import UserError
from captionseg.reporting.overlay import FAINT, INK, PAPER, fit, load_font, shorten
from captionseg.text.vocabulary import Vocabulary

SIDE, GAP, LINE, COLUMNS = 240, 14, 19, 5  # pixels; pictures in a row
CAPTION_LINES, GIVEN_LINES = 3, 3
GIVEN = (32, 96, 160)
"""Colour of the concepts that a caption gave."""


@dataclass(frozen=True)
class Neighbour:
    """A picture of the sheet.

    Attributes:
        image: uint8 [H, W, 3].
        similarity: cosine of its image with that of the pair; None for the pair itself.
        caption: its caption.
        given: concepts of the pair that this caption names; of the pair itself, those of its own
            caption.
    """

    image: np.ndarray
    similarity: float | None
    caption: str
    given: list[str]


def find_given(caption: str, concepts: Sequence[str]) -> list[str]:
    """Return the concepts that a caption names, as curation reads it, each once."""
    matches = Vocabulary(tuple(concepts), None).read(caption)[1]
    return list(dict.fromkeys(concepts[match.number] for match in matches))


def list_pictured(history: History, places: Places, rule: str) -> list[Neighbour]:
    """List the pair and its neighbours, with their pictures.

    Args:
        history: of the pair, see `captionseg.lineage.history.read_history`.
        places: files of the run.
        rule: whose concepts.

    Raises:
        UserError: for a pair without a picture or neighbours, and a rule that did not read it.
    """
    pair, neighbours, rules = history["pair"], history["neighbours"], history["rules"] or {}
    if pair["status"] != "success":
        raise UserError(f"{pair['uid']}: has no picture ({pair['reason'] or pair['status']})")
    if not neighbours:
        raise UserError(f"{pair['uid']}: {places.data / 'index'} has no neighbours of it")
    if rule not in rules:
        valid = ", ".join(sorted(rules)) or "none; run `dvc repro`"
        raise UserError(f"--rule: {rule} made nothing of this pair (valid: {valid})")
    concepts = [concept["text"] for concept in rules[rule]["concepts"]]
    rows = [pair, *neighbours]
    pictures = Pictures(places.pairs, [r["shard"] for r in rows], [r["key"] for r in rows])
    return add_pictures(rows, pictures, concepts)


def add_pictures(
    rows: Sequence[dict[str, Any]], pictures: Pictures | Sequence[np.ndarray], concepts: list[str]
) -> list[Neighbour]:
    """Add its picture to each row, and which concepts of the pair its caption names.

    Args:
        rows: the pair, then its neighbours, with `caption` and, of neighbours, `similarity`.
        pictures: of each row, uint8 [H, W, 3].
        concepts: of the pair.
    """
    return [
        Neighbour(
            pictures[number],
            row.get("similarity"),
            row["caption"],
            find_given(row["caption"], concepts),
        )
        for number, row in enumerate(rows)
    ]


def format_concepts(concepts: Sequence[dict[str, Any]], pictured: Sequence[Neighbour]) -> list[str]:
    """Format each concept of the pair: score, weight, how many of all neighbours name it, and
    which of those that are shown.
    """
    lines = [f"{'concept':16} {'score':>7} {'weight':>7} {'support':>7}  named by"]
    for concept in concepts:
        text = concept["text"]
        by = ["its caption" if not n else str(n) for n, p in enumerate(pictured) if text in p.given]
        values = [
            "" if value is None else f"{value:.3f}"
            for value in (concept.get("score"), concept.get("weight"))
        ]
        values.append(str(concept.get("support") or ""))
        numbers = " ".join(f"{value:>7}" for value in values)
        lines.append(f"{text:16} {numbers}  {', '.join(by) or 'none of these'}")
    return lines


def draw_sheet(title: str, pictured: Sequence[Neighbour]) -> np.ndarray:
    """Draw the pair and its neighbours, each with caption and the concepts that it gave.

    Args:
        title: a line above.
        pictured: the pair, then its neighbours, the most similar first.
    """
    tall = SIDE + LINE * (1 + CAPTION_LINES + GIVEN_LINES) + GAP
    columns = min(COLUMNS, len(pictured))
    rows = -(-len(pictured) // columns)
    page = Image.new("RGB", (columns * (SIDE + GAP) + GAP, rows * tall + 3 * LINE), PAPER)
    draw = ImageDraw.Draw(page)
    lines = wrap(title, load_font(16), page.width - 2 * GAP, 2)
    for number, line in enumerate(lines):
        draw.text((GAP, (number + 1) * LINE), line, INK, load_font(16), anchor="lm")
    for number, one in enumerate(pictured):
        x = GAP + number % columns * (SIDE + GAP)
        draw_one(page, one, (x, 3 * LINE + number // columns * tall), number)
    return np.asarray(page)


def draw_one(page: Image.Image, one: Neighbour, at: tuple[int, int], number: int) -> None:
    """Draw one picture of the sheet and its texts."""
    draw, face, (x, y) = ImageDraw.Draw(page), load_font(13), at
    small = Image.fromarray(fit(one.image, SIDE))
    page.paste(small, (x, y + SIDE - small.height))
    y += SIDE + LINE // 2
    head = "the pair" if one.similarity is None else f"{number}   similarity {one.similarity:.3f}"
    draw.text((x, y), head, FAINT, face, anchor="lm")
    for line in wrap(one.caption, face, SIDE, CAPTION_LINES):
        y += LINE
        draw.text((x, y), line, INK, face, anchor="lm")
    given = f"+ {', '.join(one.given)}" if one.given else "no concept of the pair"
    for line in wrap(given, face, SIDE, GIVEN_LINES):
        y += LINE
        draw.text((x, y), line, GIVEN if one.given else FAINT, face, anchor="lm")


def wrap(text: str, face: Any, width: float, most: int) -> list[str]:
    """Break a text into at most `most` lines of `width` pixels; the last one may end in dots."""

    words = "".join(c if c.isprintable() else " " for c in text).split()
    lines: list[str] = []
    while words and len(lines) < most:
        count = 1
        while count < len(words) and face.getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        if len(lines) == most - 1:
            count = len(words)
        lines.append(shorten(" ".join(words[:count]), face, width))
        words = words[count:]
    return lines
