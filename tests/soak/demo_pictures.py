"""Pictures of the page of `captionseg demo` for the documentation, 1440 and 390 pixels wide.

    python -m tests.soak.demo_pictures --data data --models models

DATA and MODELS are those of a finished run, with a model of segments among them for the search
(`make experiment NAME=segments`). Needs a Chromium. Fails on what has no name for a screen reader,
on texts of too little contrast, and on a page that is wider than the screen.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

from captionseg.demo import server
from captionseg.demo.backend import Backend
from captionseg.lineage.history import Places
from tests.captionseg.demo.browser import Page, open_browser

ROOT = Path(__file__).parents[2]
SIZES = {"": (1440, 800), "_narrow": (390, 844)}
WORDS = "sky, temple, hedge"


def take(page: Page, out: Path, name: str) -> None:
    """Take a picture at each width."""
    assert (page.nameless(), page.faint()) == ([], [])
    for end, (width, height) in SIZES.items():
        page.resize(width, height)
        time.sleep(1)  # for transitions to end
        page.look("document.querySelector('.figures')?.scrollIntoView({ block: 'nearest' })")
        assert page.look("document.documentElement.scrollWidth") <= width
        page.screenshot(out / f"{name}{end}.jpg")
        print(out / f"{name}{end}.jpg")  # noqa: T201
    page.resize(*SIZES[""])


def segment(page: Page, other: str) -> None:
    """A photograph by two models."""
    page.choose_file("input[type=file]", ROOT / "docs" / "pictures" / "temple.jpg")
    page.wait_text("Now type words")
    page.focus("input[aria-label^=Words]")
    page.type(WORDS)
    page.focus("input[aria-label^=Compare]")
    page.press("Enter")
    page.click(".q-item", other)
    page.click("button[type=submit]", "Segment")
    page.wait("document.querySelectorAll('.figures img[src^=data]').length == 2")
    page.look("document.activeElement.blur()")


def browse(page: Page) -> None:
    """The first pair."""
    page.click("[role=tab]", "Browse")
    page.wait("document.querySelectorAll('.pair').length == 24")
    page.click(".pair")
    page.wait_text("Concepts and neighbours")


def search(page: Page) -> None:
    """Red apples."""
    page.click("[role=tab]", "Search")
    page.wait("!!document.querySelector('input[aria-label^=What]')")
    page.focus("input[aria-label^=What]")
    page.type("a red apple")
    page.press("Enter")
    page.wait("document.querySelectorAll('.two').length == 20")


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument(
        "--other", default="nouns-mil", help="recipe that the best is compared with"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    given = parser.parse_args()
    backend = Backend((), Places(given.data, given.models), "cpu")
    with server.open_port(0) as opened, tempfile.TemporaryDirectory() as profile:
        opened.listen()
        running = server.make_server(server.make_app(backend))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [opened]})
        thread.start()
        with open_browser(Path(profile)) as page:
            page.resize(*SIZES[""])
            page.open(f"http://127.0.0.1:{opened.getsockname()[1]}")
            page.wait_text("Choose a picture")
            segment(page, given.other)
            take(page, given.out, "demo_segment")
            browse(page)
            take(page, given.out, "demo_browse")
            search(page)
            take(page, given.out, "demo_search")
        running.should_exit = True
        thread.join()
        backend.close()


if __name__ == "__main__":
    main()
