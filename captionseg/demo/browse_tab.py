"""The tab where the pairs of a run are looked at."""

from __future__ import annotations

from nicegui import ui

from captionseg.demo.backend import Backend
from captionseg.demo.data_urls import encode_picture
from captionseg.demo.elements import Progress, add_button, add_image, add_text
from captionseg.demo.pair_browser import Listing, Pair, PairView
from captionseg.demo.pair_panel import fill_panel

THUMB = 200  # long side of a picture in a list, in pixels
SPLITS = {"": "all", "train": "train", "tune": "tune", "test": "test"}


class BrowseTab:
    """The tab.

    Attributes:
        page: number of the page of the list, from 0.
        listed: whether a list was read yet.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend, self.page, self.listed = backend, 0, False
        self.missing = backend.pairs.missing
        if self.missing:
            add_text(self.missing, "p", "missing")
            return
        with ui.element("form").classes("bar") as form:
            form.on("submit.prevent", self.start)
            self.query = ui.input("In the caption, or beginning of a uid")
            self.query.props("outlined dense autocomplete=off clearable").classes("wide")
            self.split = ui.select(SPLITS, label="Split", value="", on_change=self.start)
            self.split.props("outlined dense")
            ui.button("Find", color="primary").props("type=submit no-caps")
        self.progress = Progress()
        self.panel = ui.element("section").classes("panel")
        self.panel.props["aria-label"] = "A pair"
        with ui.element("div").classes("results") as self.found:
            self.list = ui.element("ul").classes("pairs")
            with ui.element("nav").classes("bar") as pages:
                pages.props["aria-label"] = "Pages of the list"
                self.before = ui.button("Before", on_click=lambda: self.turn(-1))
                self.place = add_text("")
                self.after = ui.button("Next", on_click=lambda: self.turn(1))
                for button in (self.before, self.after):
                    button.props("no-caps flat")

    async def start(self) -> None:
        """Show the first page of the list that is asked for."""
        self.page = 0
        await self.load()

    async def turn(self, step: int) -> None:
        """Show the page before, or the next one."""
        self.page = max(0, self.page + step)
        await self.load()

    async def begin(self) -> None:
        """Show the first page, unless something is shown or on its way."""
        if not (self.missing or self.listed or self.progress.busy):
            await self.load()

    async def load(self) -> None:
        """Show a page of the list."""
        query, split, page = self.query.value or "", self.split.value or "", self.page

        def read() -> tuple[Listing, dict[str, str]]:
            pairs = self.backend.pairs
            listing = pairs.list_pairs(page, query=query, split=split)
            images = pairs.read_images(listing.pairs)
            return listing, {uid: encode_picture(image, THUMB) for uid, image in images.items()}

        found = await self.progress.watch("Reading pairs", lambda: self.backend.read(read))
        if found is not None:
            self.listed = True
            self.fill(*found)
            await self.close()

    def fill(self, listing: Listing, sources: dict[str, str]) -> None:
        """Fill the list."""
        self.list.clear()
        with self.list:
            for pair in listing.pairs:
                with ui.element("li"), add_button(lambda pair=pair: self.open(pair)):
                    if pair.uid in sources:
                        add_image(sources[pair.uid], "")  # the caption is the button's name
                    add_text(pair.caption, "span")
        last = listing.first + len(listing.pairs) - 1
        self.place.set_text(f"{listing.first} to {last}" if listing.pairs else "no pair fits")
        self.before.set_enabled(listing.first > 1)
        self.after.set_enabled(listing.more)

    async def open(self, pair: Pair) -> None:
        """Show a pair."""
        if not pair.has_picture:
            self.progress.fail(f"{pair.uid}: has no picture ({pair.reason or pair.status})")
            return
        view = await self.progress.watch(
            "Reading the pair", lambda: self.backend.read(self.backend.pairs.read, pair)
        )
        if view is not None:
            await self.show(view)

    async def show(self, view: PairView) -> None:
        """Show what curation made of a pair, in place of the list."""
        self.panel.clear()
        self.found.set_visibility(False)
        with self.panel:
            back = ui.button("Back to the list", on_click=self.close).props("no-caps flat")
            await fill_panel(view, self.backend, self.open_uid)
        ui.run_javascript(f"getHtmlElement({back.id}).focus()")

    async def close(self) -> None:
        """Show the list again."""
        self.panel.clear()
        self.found.set_visibility(True)
        await self.begin()

    async def open_uid(self, uid: str) -> None:
        """Show a pair by its uid."""
        pair = await self.progress.watch(
            "Looking for the pair", lambda: self.backend.read(self.backend.pairs.find, uid)
        )
        if pair is not None:
            await self.open(pair)
        elif not self.progress.error.text:
            self.progress.fail(f"{uid}: no such pair any more")
