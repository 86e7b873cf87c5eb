"""All that a run made of one pair: caption, concepts by rule, neighbours, segments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from captionseg.api.neighbour_sheet import Neighbour
from captionseg.demo.backend import Backend
from captionseg.demo.data_urls import encode_picture
from captionseg.demo.elements import add_button, add_image, add_text
from captionseg.demo.pair_browser import PairView, Segment
from captionseg.reporting.query import draw_segment

LARGE, SMALL = 480, 200  # long sides of the pair's picture and of its neighbours', in pixels
FADED = 0.6  # how far the rest of a picture fades to white, 0 to 1
HEAD = ("concept", "score", "weight", "neighbours that name it", "of those shown")

Open = Callable[[str], Awaitable[None]]
"""Shows another pair, by its uid."""


async def fill_panel(view: PairView, backend: Backend, show_other: Open) -> None:
    """Add all about a pair.

    Args:
        view: the pair.
        backend: models, pairs and segments of the page.
        show_other: is called with the uid of a neighbour that was chosen.
    """
    sources = await backend.read(encode_all, view)
    cuts = await backend.read(draw_segments, view)
    pair = view.pair
    add_text(pair["caption"], "h2")
    with ui.element("div").classes("columns"):
        with ui.element("div").classes("controls"):
            add_image(sources[0], f"picture of the pair: {pair['caption']}")
            add_facts(pair)
        with ui.element("div").classes("results"):
            add_concepts(view, sources, show_other)
    if view.segments:
        add_text("Segments", "h3")
        add_segments(view, cuts)


def encode_all(view: PairView) -> list[str]:
    """Encode the pictures of a pair and its neighbours."""
    return [
        encode_picture(image, LARGE if number == 0 else SMALL)
        for number, image in enumerate(view.images)
    ]


def draw_segments(view: PairView) -> list[str]:
    """Draw each segment of a pair's picture."""
    return [
        encode_picture(draw_segment(view.images[0], segment.mask, FADED))
        for segment in view.segments
    ]


def add_facts(pair: dict[str, Any]) -> None:
    """Add where a pair comes from."""
    size = f"{pair['original_width']} x {pair['original_height']} pixels"
    with ui.element("dl"):
        for name, value in (
            ("uid", pair["uid"]),
            ("from", pair["url"]),
            ("split", pair["split"]),
            ("size", size),
        ):
            add_text(name, "dt")
            add_text(str(value), "dd")


def add_concepts(view: PairView, sources: list[str], show_other: Open) -> None:
    """Add the concepts of a rule, which can be chosen, and the neighbours that gave them."""
    add_text("Concepts and neighbours", "h3")
    if not view.rules:
        split = view.pair["split"]
        why = (
            "run `dvc repro`" if split == "train" else f"rules read training pairs, this is {split}"
        )
        add_text(f"No rule has read this pair: {why}")
    rule = next((name for name in view.rules if name.startswith("cocu")), "")
    rule = rule or next(iter(view.rules), "")
    below = ui.element("div")

    def fill(chosen: str) -> None:
        below.clear()
        with below:
            pictured = view.list_pictured(chosen)
            if chosen:
                add_table(view.list_concepts(chosen), pictured)
                if reason := view.rules[chosen]["drop_reason"]:
                    add_text(f"Left out: {reason}")
            add_neighbours(view, pictured, sources, show_other)

    if view.rules:
        select = ui.select(
            list(view.rules), label="Rule", value=rule, on_change=lambda event: fill(event.value)
        )
        select.props("outlined dense")
        select.move(target_index=1)
    fill(rule)


def add_table(concepts: list[dict[str, Any]], pictured: list[Neighbour]) -> None:
    """Add the table of concepts: scores, and whose captions name each of them."""
    if not concepts:
        add_text("No concept")
        return
    with ui.element("div").classes("scroll"), ui.element("table"):
        with ui.element("thead"), ui.element("tr"):
            for name in HEAD:
                add_text(name, "th").props("scope=col")
        with ui.element("tbody"):
            for concept in concepts:
                named = [
                    "its caption" if number == 0 else str(number)
                    for number, one in enumerate(pictured)
                    if concept["text"] in one.given
                ]
                with ui.element("tr"):
                    add_text(concept["text"], "th").props("scope=row")
                    for value in (concept["score"], concept["weight"]):
                        add_text("" if value is None else f"{value:.3f}", "td", "number")
                    add_text(str(concept["support"] or ""), "td", "number")
                    add_text(", ".join(named), "td")


def add_neighbours(
    view: PairView, pictured: list[Neighbour], sources: list[str], show_other: Open
) -> None:
    """Add the neighbours: similarity, caption, and which concepts of the pair it names."""
    if len(pictured) < 2:
        add_text("No neighbours: `dvc repro index` finds them")
        return
    with ui.element("ol").classes("pairs"):
        for number in range(1, len(pictured)):
            one, uid = pictured[number], view.rows[number]["uid"]
            with ui.element("li"), add_button(lambda uid=uid: show_other(uid)):
                add_image(sources[number], "")
                add_text(f"{number}: similarity {one.similarity or 0:.2f}", "span", "faint")
                add_text(one.caption, "span")
                if one.given:
                    add_text(f"gave {', '.join(one.given)}", "span", "given")


def add_segments(view: PairView, cuts: list[str]) -> None:
    """Add the segments of the picture with the texts that name them."""
    with ui.element("ul").classes("pairs"):
        for segment, source in zip(view.segments, cuts, strict=True):
            texts = format_texts(segment)
            with ui.element("li"):
                add_image(source, f"segment: {', '.join(texts) or 'without a text'}")
                for text in texts or ["without a text"]:
                    add_text(text, "span")
    if view.unshown:
        add_text(f"{view.unshown} smaller ones are not shown")


def format_texts(segment: Segment) -> list[str]:
    """Format the texts of a segment with their scores."""
    return [text if score is None else f"{text} {score:.2f}" for text, score in segment.texts]
