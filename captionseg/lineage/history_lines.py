"""Formats a history as lines for a terminal, with control characters of names and captions
escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from captionseg.lineage.history import History
from captionseg.lineage.lookup import Match

STAGES = {
    "neighbours": "index",
    "marks": "curate",
    "rules": "curate",
    "segments": "segment_text",
    "recipes": "pretrain",
}
"""Section of a history -> the stage that makes it."""

SHOWN = 20
"""Duplicates, concepts of a rule and segments that are listed; --json has all."""


def format_matches(rows: Sequence[tuple[Match, dict[str, Any]]]) -> list[str]:
    """A line for each of several pairs that fit."""
    return [
        f"{row['uid']}  {row['status']}  {escape(row['source_row'] or row['url'])}  "
        f"{quote(row['caption'])}  {describe_match(match)}"
        for match, row in rows
    ]


def describe_match(match: Match) -> str:
    """How a pair was found."""
    return f"by {match.by}" + (f", {match.distance} of 64 bits differ" if match.distance else "")


def format_history(history: History, match: Match) -> Iterator[str]:
    """Yield the lines of a history; those below a heading are indented."""
    yield from format_pair(history["pair"], match)
    if history["generated_caption"]:
        yield f"generated caption: {quote(history['generated_caption'])}"
    yield from format_section("duplicates", format_duplicates(history["duplicates"]))
    for name, write in (
        ("neighbours", format_neighbours),
        ("marks", lambda rows: format_marks(rows, history["pair"]["uid"])),
        ("rules", format_rules),
        ("segments", format_segments),
        ("recipes", format_recipes),
    ):
        if history[name] is None:
            yield f"{name}: not made yet: `dvc repro {STAGES[name]}`"
        else:
            yield from format_section(name, write(history[name]))


def format_section(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a heading and its lines, or that there are none."""
    listed = list(lines)
    yield f"{name}:" if listed else f"{name}: none"
    yield from (f"  {line}" for line in listed)


def format_pair(pair: dict[str, Any], match: Match) -> Iterator[str]:
    """The row of the pairs itself."""
    yield f"uid: {pair['uid']} ({describe_match(match)})"
    yield f"source row: {escape(pair['source_row'] or '-')}"
    yield f"url: {escape(pair['url'] or '-')}"
    yield f"shard: {pair['shard']}, key {escape(pair['key'])}"
    yield f"split: {pair['split']}"
    reason = "" if pair["status"] == "success" else f": {pair['reason'] or 'no reason kept'}"
    detail = f" ({escape(pair['error_message'])})" if pair["error_message"] else ""
    yield f"outcome: {pair['status']}{reason}{detail}"
    yield f"original: {format_size(pair, 'original_')}, sha256 {pair['original_sha256'] or '-'}"
    yield (
        f"picture: {format_size(pair)}, sha256 {pair['sha256'] or '-'}, "
        f"perceptual hash {pair['phash'] or '-'}"
    )
    yield f"caption: {quote(pair['caption'] or '')}"
    held_out = pair["held_out_captions"] or []
    yield from format_section("held-out captions", map(quote, held_out))


def format_size(pair: dict[str, Any], prefix: str = "") -> str:
    """Width and height, or a dash."""
    width, height = pair[f"{prefix}width"], pair[f"{prefix}height"]
    return f"{width} x {height} pixels" if width and height else "-"


def format_duplicates(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Other rows of the same picture."""
    for row in rows[:SHOWN]:
        alike = f", {row['distance']} of 64 bits differ" if row["by"] == "look" else ""
        refused = "" if row["status"] == "success" else f", refused: {row['reason']}"
        yield (
            f"{row['uid']}  same {row['by']}{alike}{refused}  {escape(row['url'])}  "
            f"{quote(row['caption'])}"
        )
    yield from format_remainder(len(rows))


def format_marks(rows: Sequence[dict[str, Any]], uid: str) -> Iterator[str]:
    """Why no rule keeps the pair, and which pairs it stands for."""
    for row in rows[:SHOWN]:
        if row["uid"] == uid:
            yield f"left out, {row['kind']}: {escape(row['reason'])}"
        else:
            yield f"stands for {row['uid']}, {row['kind']}"
    yield from format_remainder(len(rows))


def format_neighbours(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The most similar pictures."""
    for row in rows:
        yield f"{row['similarity']:.3f}  {row['uid']}  {quote(row['caption'])}"


def format_rules(rules: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The concepts of every rule, with all their numbers."""
    for name, row in rules.items():
        dropped = "" if row["kept"] else f": dropped, {escape(row['drop_reason'] or 'no reason')}"
        yield f"{escape(name)}{dropped}"
        for concept in row["concepts"][:SHOWN]:
            numbers = ", ".join(
                f"{key} {concept[key]:.3f}"
                for key in ("score", "score_a", "score_b", "weight")
                if concept[key] is not None
            )
            yield f"  {escape(concept['text'])}: {numbers}, support {concept['support']}"
        yield from (f"  {line}" for line in format_remainder(len(row["concepts"])))


def format_segments(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Segments, each with its texts."""
    for row in rows[:SHOWN]:
        share = row["area"] / max(1, row["width"] * row["height"])
        extent = "whole picture" if row["full_image"] else f"{100 * share:.0f} % of the picture"
        texts = ", ".join(f"{quote(text['text'])} ({text['kind']})" for text in row["texts"])
        yield f"{row['segment_id'][:12]}  {extent}: {texts}"
    yield from format_remainder(len(rows))


def format_recipes(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Which recipes learnt from the pair."""
    outcomes = {True: "trained on it", False: "not trained on it", None: "not known"}
    for row in rows:
        yield f"{escape(row['recipe'])}: {outcomes[row['trained']]}, {escape(row['why'])}"


def format_remainder(count: int) -> Iterator[str]:
    """Yield a line with the number of items that are not shown."""
    if count > SHOWN:
        yield f"and {count - SHOWN} more (--json has all)"


def quote(text: str) -> str:
    """A caption in quotation marks."""
    return f'"{escape(text)}"'


def escape(text: str) -> str:
    """Escape characters that would move the cursor, change a colour or turn the direction of
    writing, as \\n or \\x1b.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
