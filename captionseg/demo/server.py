"""Serves the page on loopback."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from nicegui import ui
from starlette.formparsers import MultiPartParser

from captionseg.demo.backend import Backend
from captionseg.demo.guard import HOSTS, App, Guard
from captionseg.demo.page import TITLE, build_page
from captionseg.images import LARGEST_FILE
from captionseg.records import UserError

ROOM = 2**20
"""Bytes of a request besides the file in it."""


def open_port(port: int) -> socket.socket:
    """Open a port of loopback; 0 takes any that is free.

    Raises:
        UserError: if another program has it, or we may not.
    """
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((HOSTS[0], port))
    except OSError as error:
        opened.close()
        raise UserError(
            f"--port: {port} cannot be used ({error.strerror}); choose another, or 0 for any"
        ) from None
    return opened


def make_app(backend: Backend) -> App:
    """Return the page as an ASGI application, guard included.

    Args:
        backend: models, pairs and segments of the page.
    """
    # uploads stay in memory: the parser writes what is larger than this into files
    MultiPartParser.spool_max_size = LARGEST_FILE
    app = FastAPI(openapi_url=None)
    ui.run_with(
        app,
        root=lambda: build_page(backend),
        title=TITLE,
        language="en-US",
        favicon=ICON,
        tailwind=False,  # styles of its own, see page.css
        gzip_middleware_factory=None,
        show_welcome_message=False,
    )
    return Guard(app, largest=LARGEST_FILE + ROOM)


ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<path fill="#1c5d99" d="M0 0h16v9H0z"/><path fill="#3f7d20" d="M0 9h16v7H0z"/>'
    '<path fill="#b3541e" d="M5 4h6v8H5z"/></svg>'
)


def serve(backend: Backend, port: int, *, tell: Callable[[str], object]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        backend: models, pairs and segments of the page.
        port: of loopback; 0 takes any that is free.
        tell: is given the address as soon as browsers can open it.

    Raises:
        UserError: if the port cannot be used.
    """
    with open_port(port) as opened:
        server = make_server(make_app(backend))
        opened.listen()
        backend.warm_up()
        tell(f"http://{HOSTS[0]}:{opened.getsockname()[1]}")
        server.run(sockets=[opened])


def make_server(app: App) -> uvicorn.Server:
    """Return the server of an application."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )
