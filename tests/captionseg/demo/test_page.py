"""The page itself: in this process without a browser, and in a headless Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from captionseg.demo.backend import Backend
from captionseg.lineage.history import Places
from captionseg.records import UserError
from tests.captionseg.demo.browser import CHROMIUM, open_browser
from tests.captionseg.demo.conftest import EVIL

TITLE = "captionseg"


@pytest.fixture(scope="module")
def backend(run) -> Iterator[Backend]:
    made = Backend((), run.places, "cpu")
    yield made
    made.close()


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    """A dog on grass, as the encoder of tests sees them."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, :40], image[:, 40:] = (200, 40, 40), (160, 160, 20)
    file = tmp_path_factory.mktemp("pictures") / "dog.png"
    Image.fromarray(image).save(file)
    with file.open("ab") as stream:  # more than what web servers keep in memory
        stream.write(b"\0" * 2**21)
    return file


def dropped(name: str, data: bytes) -> SimpleNamespace:
    """An event of the uploader."""

    async def read() -> bytes:
        return data

    return SimpleNamespace(file=SimpleNamespace(name=name, read=read))


def texts(element) -> list[str]:
    """The texts in an element, in their order."""
    from nicegui import ui

    return [one.text for one in element.descendants() if isinstance(one, ui.label) and one.text]


def test_segmenting_without_a_browser(backend, picture):
    from captionseg.demo.segment_tab import SegmentTab

    async def use(tab: SegmentTab) -> None:
        await tab.run()
        assert tab.progress.error.text == "picture: choose one first"
        await tab.take(dropped("x.txt", b"no picture"))
        assert tab.progress.error.text == "x.txt: not a readable image: no known format"
        tab.words.set_value("!")
        await tab.take(dropped("dog.png", picture.read_bytes()))
        assert tab.progress.error.text == "words: '!' contains no word; remove it or use a word"
        tab.words.set_value(", ".join(f"word{n}" for n in range(200)))
        await tab.run()
        assert (tab.progress.error.text, len(tab.results[0].result.labels)) == ("", 200)
        tab.words.set_value("dog, grass, xylophone")
        tab.second.set_value("second-mil")
        await tab.run()
        assert tab.progress.error.text == ""
        assert [shown.model for shown in tab.results] == ["first-mil", "second-mil"]
        assert [i.props["alt"] for i in tab.images] == [
            f"dog.png in the colours of its labels, by {name}"
            for name in ("first-mil", "second-mil")
        ]
        before = [image.props["src"] for image in tab.images]
        label = int(tab.results[0].result.mask[0, 0])
        await tab.toggle(label, False)
        assert tab.images[0].props["src"] != before[0]
        await tab.toggle(label, True)
        assert [image.props["src"] for image in tab.images] == before

    asyncio.run(on_a_page(lambda: SegmentTab(backend), use))


async def on_a_page(make, use) -> None:
    """Build a part of a page that nobody looks at, and use it."""
    from nicegui import Client, core
    from nicegui.page import page

    before, core.loop = core.loop, asyncio.get_running_loop()  # as a server does when it starts
    with Client(page("")) as client:
        made = make()
        try:
            await use(made)
        finally:
            client.delete()
            core.loop = before


def test_progress_says_what_goes_wrong_and_does_one_thing_at_once():
    from captionseg.demo.elements import Progress

    async def use(progress: Progress) -> None:
        async def fail(error: Exception) -> None:
            assert (progress.busy, progress.status.text) == (True, "working")
            assert await progress.watch("more", lambda: fail(ValueError())) is None  # not begun
            raise error

        for error, line in (
            (UserError("x: wrong"), "x: wrong"),
            (MemoryError(), "out of memory; use fewer labels or smaller pictures"),
            (KeyError("bug"), "something went wrong here; the terminal of `captionseg demo`"),
        ):
            assert await progress.watch("working", lambda e=error: fail(e)) is None
            assert progress.error.text.startswith(line)
            assert (progress.busy, progress.status.text) == (False, "")

    asyncio.run(on_a_page(Progress, use))


def test_browsing_without_a_browser(backend):
    from captionseg.demo.browse_tab import BrowseTab

    async def use(tab: BrowseTab) -> None:
        await tab.begin()
        assert texts(tab.list)[0] == EVIL
        assert (tab.place.text, tab.before.enabled, tab.after.enabled) == ("1 to 24", False, True)
        await tab.turn(1)
        await tab.turn(1)
        assert (tab.place.text, tab.before.enabled, tab.after.enabled) == ("49 to 52", True, False)
        tab.query.set_value("nothing like it")
        await tab.start()
        assert tab.place.text == "no pair fits"
        first = backend.pairs.list_pairs().pairs
        await tab.open_uid(first[0].uid)
        found = texts(tab.panel)
        assert found[0] == EVIL
        concepts = backend.pairs.read(first[0]).list_concepts("cocu")
        assert concepts
        assert {"Segments", "something 0.50", *(one["text"] for one in concepts)} <= set(found)
        assert not tab.found.visible
        await tab.open(next(pair for pair in first if not pair.has_picture))
        assert tab.progress.error.text.endswith("has no picture (failed_to_download)")
        await tab.close()
        assert tab.found.visible

    asyncio.run(on_a_page(lambda: BrowseTab(backend), use))


def test_searching_without_a_browser(backend):
    from captionseg.demo.search_tab import SearchTab

    opened: list[str] = []

    async def show(uid: str) -> None:
        opened.append(uid)

    async def use(tab: SearchTab) -> None:
        tab.words.set_value("a dog")
        await tab.run()
        assert texts(tab.hits)[1] == "a dog"
        assert len(list(tab.hits)) == 20
        tab.words.set_value("")
        await tab.run()
        assert tab.progress.error.text.startswith("words: type what to search for")

    asyncio.run(on_a_page(lambda: SearchTab(backend, show), use))


def test_without_a_run_two_tabs_say_what_to_run(tmp_path):
    from nicegui import ui

    from captionseg.demo.browse_tab import BrowseTab
    from captionseg.demo.search_tab import SearchTab

    async def use(page: ui.element) -> None:
        browse, search = texts(page)
        assert "run `dvc repro download` first" in browse
        assert "no segments; run `dvc repro`" in search

    def make() -> ui.element:
        with ui.element("div") as page:
            BrowseTab(bare)
            SearchTab(bare, lambda uid: None)  # type: ignore[arg-type, return-value]
        return page

    bare = Backend((), Places(tmp_path / "data", tmp_path / "models"), "cpu")
    asyncio.run(on_a_page(make, use))
    bare.close()


@pytest.fixture(scope="module")
def address(backend) -> Iterator[str]:
    """The page, served in a thread."""
    from captionseg.demo import server

    with server.open_port(0) as opened:
        opened.listen()
        running = server.make_server(server.make_app(backend))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]})
        thread.start()
        while not running.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        running.should_exit = True
        thread.join()


def ask(address: str, path: str, **headers: str) -> tuple[int, str]:
    """Status and text of an answer."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_the_server_answers_its_own_page_and_no_path_of_the_disk(address):
    status, text = ask(address, "/")
    assert (status, TITLE in text) == (200, True)
    assert text.count("<script") == text.count("<script nonce=")
    assert ask(address, "/", Host="example.org")[0] == 403
    socket = f"{address.replace('http', 'ws')}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    connect(socket, origin=address, proxy=None).close()
    with pytest.raises(InvalidStatus, match="403"):
        connect(socket, origin="http://example.org", proxy=None)
    for path in ("//etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"):
        assert "root:" not in ask(address, path)[1]


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_in_a_browser(address, picture, tmp_path, monkeypatch):
    def refuse(file) -> None:
        raise AssertionError("an upload is written into a file")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", refuse)
    with open_browser(tmp_path / "profile") as page:
        page.resize(1440, 900)
        page.open(address)
        page.wait_text("Choose a picture")
        segment(page, picture)
        browse(page)
        search(page)
        page.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as shot:
            assert (shot.size, len(shot.convert("L").getcolors()) > 50) == ((1440, 900), True)
        page.resize(390, 844)
        page.click("[role=tab]", "Segment")
        page.wait("document.querySelector('.figures img')?.checkVisibility()")
        assert page.look("document.documentElement.scrollWidth") == 390
        for part in (".figures img", "form.controls"):
            assert page.look(f"document.querySelector('{part}').offsetWidth") == 390 - 2 * 16
        assert page.look("document.title") == TITLE  # no caption ran as a script
        assert page.said == []  # no error, and nothing that the policy refuses
        own = (address, address.replace("http", "ws"), "data:", "about:")
        assert [asked for asked in page.asked if not asked.startswith(own)] == []


def check(page) -> None:
    """What can be operated has a name, images have a text, and texts can be read."""
    assert page.nameless() == []
    assert page.faint() == []


def segment(page, picture: Path) -> None:
    """Drop, type, wait; by keyboard but for the drop."""
    page.drop_file(".drop", picture)
    page.wait_text("Now type words")
    page.focus("input[aria-label^=Words]")
    page.type("dog, grass")
    page.press("Enter")
    page.wait("document.querySelectorAll('.entry').length > 0")
    image = "document.querySelector('.figures img')"
    before = page.wait(f"{image}.naturalWidth == 80 && {image}.src")
    page.focus(".entry [role=checkbox]")
    page.press(" ")
    page.wait(f"{image}.src != {before!r}")
    page.press(" ")
    page.wait(f"{image}.src == {before!r}")
    page.focus("input[type=range]")
    page.press("ArrowRight")
    page.wait(f"{image}.src != {before!r}")
    page.choose_file("input[type=file]", picture)  # as the button does; the words are there
    page.wait(f"{image}?.src == {before!r}")
    check(page)


def browse(page) -> None:
    page.focus("[role=tab]")
    page.press("ArrowRight")
    page.press("Enter")
    page.wait("document.querySelectorAll('.pair').length == 24")
    assert EVIL in page.text()
    assert page.look("document.querySelector('evil-tag') === null")
    page.focus(".pair")
    page.press("Enter")
    page.wait_text("Concepts and neighbours")
    page.wait("document.activeElement.textContent == 'Back to the list'")
    assert EVIL in page.text()
    check(page)


def search(page) -> None:
    page.click("[role=tab]", "Search")
    page.wait("!!document.querySelector('input[aria-label^=What]')")
    page.focus("input[aria-label^=What]")
    page.type("a dog")
    page.press("Enter")
    page.wait("document.querySelectorAll('.pair').length == 20")
    check(page)
