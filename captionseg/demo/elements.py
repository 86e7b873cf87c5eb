"""What the tabs of the page are built from. All texts become text of the page, never HTML."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from nicegui import ui

from captionseg.terminal import mistake

log = logging.getLogger(__name__)
T = TypeVar("T")

OURS = "something went wrong here; the terminal of `captionseg demo` says what"


def add_image(source: str = "", alt: str = "") -> ui.element:
    """Add an image.

    Args:
        source: see `captionseg.demo.data_urls.encode_picture`.
        alt: what it shows, in words.
    """
    image = ui.element("img")
    set_image(image, source, alt)
    return image


def set_image(image: ui.element, source: str, alt: str) -> None:
    """Change what an image shows."""
    image.props["src"], image.props["alt"] = source, alt
    image.set_visibility(bool(source))


def add_text(text: str, tag: str = "p", name: str = "") -> ui.label:
    """Add a text.

    Args:
        text: the text.
        tag: of the element, such as h2.
        name: class of the element.
    """
    label = ui.label(text)
    label.tag = tag
    return label.classes(name)


def add_button(press: Callable[[], Awaitable[None]]) -> ui.element:
    """Add a button around what is put into it, such as a picture and its caption, its name."""
    return ui.element("button").classes("pair").props("type=button").on("click", press)


class Progress:
    """A line that says what is going on, or what went wrong."""

    def __init__(self) -> None:
        with ui.row().classes("progress"):
            self.spinner = ui.spinner(size="1.4em")
            self.spinner.props["aria-hidden"] = "true"
            self.status = add_text("", "p").props("role=status")
            self.error = add_text("", "p", "error").props("role=alert")
        self.busy = False
        self._show("", "")

    def _show(self, status: str, error: str) -> None:
        self.status.set_text(status)
        self.error.set_text(error)
        self.spinner.set_visibility(self.busy)

    def say(self, status: str) -> None:
        """Say what is going on."""
        self._show(status, "")

    def fail(self, line: str) -> None:
        """Say what went wrong."""
        self._show("", line)

    async def watch(self, status: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do some work and say so meanwhile.

        Args:
            status: what is said.
            work: the work; it is not begun while another one goes on.

        Returns:
            its result; None if it failed, which is said in a line, if it was not begun, or if
            nobody looks at the page any more.
        """
        if self.busy:
            return None
        self.busy = True
        self.say(status)
        line = ""
        try:
            return await work()
        except Exception as error:  # a bug of ours must not leave the page without a word
            line = mistake(error)
            if not line:
                log.exception("captionseg demo")
                line = OURS
        finally:
            self.busy = False
            self._show("", line)
        return None
