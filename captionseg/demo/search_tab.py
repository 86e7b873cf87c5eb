"""The tab where the segments of a run are searched by words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui

from captionseg.demo.backend import Backend
from captionseg.demo.data_urls import encode_picture
from captionseg.demo.elements import Progress, add_button, add_image, add_text
from captionseg.demo.pair_panel import FADED
from captionseg.reporting.query import PicturedHit, crop_around, draw_segment


class SearchTab:
    """The tab.

    Args:
        backend: models, pairs and segments of the page.
        show_pair: is called with the uid of a pair that was chosen.
    """

    def __init__(self, backend: Backend, show_pair: Callable[[str], Awaitable[None]]) -> None:
        self.backend, self.show_pair = backend, show_pair
        if backend.search.missing:
            add_text(backend.search.missing, "p", "missing")
            return
        with ui.element("form").classes("bar") as form:
            form.on("submit.prevent", self.run)
            self.words = ui.input("What to search for", placeholder="a red apple")
            self.words.props("outlined dense autocomplete=off").classes("wide")
            ui.button("Search", color="primary").props("type=submit no-caps")
        self.progress = Progress()
        self.hits = ui.element("ol").classes("pairs")

    async def run(self) -> None:
        """Search for the words that are typed."""
        words, search = self.words.value or "", self.backend.search

        async def work() -> list[tuple[PicturedHit, list[str]]]:
            hits = await self.backend.compute(search.search, words)
            return [(hit, await self.backend.read(draw_hit, hit)) for hit in hits]

        status = "Searching" if search.is_open else "Loading the model, embedding new segments"
        found = await self.progress.watch(status, work)
        if found is not None:
            self.fill(found)

    def fill(self, found: list[tuple[PicturedHit, list[str]]]) -> None:
        """Show results."""
        self.hits.clear()
        with self.hits:
            for one, sources in found:
                text = one.texts[0] if one.texts else "without a text"
                uid = one.hit.segment["uid"]
                with ui.element("li"), add_button(lambda uid=uid: self.show_pair(uid)):
                    with ui.element("span").classes("two"):
                        for source in sources:
                            add_image(source, "")  # the text below is the button's name
                    add_text(f"{one.hit.rank}: {one.hit.score:.3f}", "span", "faint")
                    add_text(text, "span")


def draw_hit(one: PicturedHit) -> list[str]:
    """Draw a result twice: in its picture, and what is around it."""
    mask = one.mask
    height, width = one.image.shape[:2]
    x, y, w, h = crop_around(one.hit.segment["bbox"], width, height)
    near = one.image[y : y + h, x : x + w], mask[y : y + h, x : x + w]
    return [
        encode_picture(draw_segment(one.image, mask, FADED)),
        encode_picture(draw_segment(*near, 0.0)),
    ]
