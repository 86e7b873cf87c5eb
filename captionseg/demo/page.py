"""The page: three tabs."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from captionseg.demo.backend import Backend
from captionseg.demo.browse_tab import BrowseTab
from captionseg.demo.elements import add_text
from captionseg.demo.search_tab import SearchTab
from captionseg.demo.segment_tab import SegmentTab

TITLE = "captionseg"
TABS = ("Segment", "Browse", "Search")
STYLE = Path(__file__).with_name("page.css")


def build_page(backend: Backend) -> None:
    """Build the page for one browser.

    Args:
        backend: models, pairs and segments of the page.
    """
    ui.colors(primary="#1c5d99", dark="#262624")
    ui.add_css(STYLE.read_text(encoding="utf-8"))
    with ui.header().classes("head"):
        add_text(TITLE, "h1")
        with ui.tabs().props("no-caps inline-label") as tabs:
            for name in TABS:
                ui.tab(name)

    async def show_pair(uid: str) -> None:
        tabs.set_value("Browse")
        await browse.open_uid(uid)

    with ui.tab_panels(tabs, value=TABS[0], keep_alive=True, animated=False).classes("tabs"):
        with ui.tab_panel("Segment"):
            SegmentTab(backend)
        with ui.tab_panel("Browse"):
            browse = BrowseTab(backend)
        with ui.tab_panel("Search"):
            SearchTab(backend, show_pair)

    async def begin() -> None:
        if tabs.value == "Browse":
            await browse.begin()

    tabs.on_value_change(begin)
