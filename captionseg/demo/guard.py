"""What stands before the page: it answers browsers of this machine alone, and only its own pages.

A server on loopback can be reached by every page that a browser shows. Two checks keep these out.
The name of the host in a request has to be one of loopback, or a foreign name that was made to
point here would be served (DNS rebinding). And a request that says where it comes from has to come
from the page itself, web sockets too, for which browsers have no rule of their own; only links may
lead here from elsewhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

HOSTS = ("127.0.0.1", "localhost")
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def make_policy(nonce: str) -> str:
    """Return the Content-Security-Policy of a page whose own scripts carry a nonce.

    No script in an attribute runs (onerror and its kin), none without the nonce, and nothing is
    loaded from elsewhere. Vue compiles templates in the browser, which needs 'unsafe-eval', and
    Quasar sets styles of elements.

    Args:
        nonce: a word that nobody can guess, another one for each answer.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data:",
            "font-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def find_fault(headers: Headers) -> str:
    """Return what is wrong with where a request comes from; empty if nothing is.

    Args:
        headers: of the request, names in lower case.
    """
    found = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
    host, origin = found.get("host", ""), found.get("origin")
    if read_host(host) not in HOSTS:
        return "this server answers to 127.0.0.1 and localhost only"
    embedded = found.get("sec-fetch-mode", "navigate") != "navigate"
    foreign = found.get("sec-fetch-site") in ("cross-site", "same-site") and embedded
    if foreign or origin not in (None, f"http://{host}"):
        return "this server answers to its own page only"
    return ""


def read_host(value: str) -> str:
    """Return the name in a Host header, without the port; empty if it cannot be read."""
    try:
        return urlsplit(f"//{value}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """An ASGI application around another one.

    Args:
        app: the page.
        largest: bytes that a request may have.
    """

    def __init__(self, app: App, *, largest: int) -> None:
        self.app, self.largest = app, largest

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request or refuse it, see the module's docstring."""
        if scope["type"] not in ("http", "websocket"):  # the start and the end of the server
            await self.app(scope, receive, send)
            return
        fault = find_fault(scope["headers"])
        if fault:
            await refuse(scope, receive, send, fault)
            return
        # of a proxy, and there is none: the library would write its value into the page
        kept = [pair for pair in scope["headers"] if not pair[0].startswith(b"x-forwarded-")]
        inner = {**scope, "headers": kept}
        if scope["type"] == "websocket":
            await self.app(inner, receive, send)
        else:
            await self.app(inner, limit_body(receive, self.largest), secure(send))


async def refuse(scope: Message, receive: Receive, send: Send, reason: str) -> None:
    """Answer with 403 and a line."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})


def limit_body(receive: Receive, largest: int) -> Receive:
    """Return a `receive` that gives up on a body of more bytes than `largest`, as if the browser
    had gone.
    """
    count = 0

    async def receive_some() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        return message if count <= largest else {"type": "http.disconnect"}

    return receive_some


def secure(send: Send) -> Send:
    """Return a `send` that adds HEADERS, and to pages their policy and its nonce."""
    start: Message = {}
    page: list[bytes] = []

    async def send_secured(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            start = {**message, "headers": [*message["headers"], *added]}
            if not is_page(start["headers"]):
                await send(start)
            return
        if message["type"] != "http.response.body" or not is_page(start["headers"]):
            await send(message)
            return
        page.append(message.get("body", b""))
        if not message.get("more_body", False):
            headers, body = add_nonce(start["headers"], b"".join(page), secrets.token_urlsafe(16))
            await send({**start, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return send_secured


def is_page(headers: Headers) -> bool:
    """Whether an answer is HTML."""
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/html")
        for name, value in headers
    )


def add_nonce(headers: Headers, body: bytes, nonce: str) -> tuple[Headers, bytes]:
    """Return an answer's headers and body with the policy, and the nonce in each of its scripts.

    In what the library writes, `<` of any text from elsewhere is `&lt;`, so only its own scripts
    begin like this.
    """
    body = body.replace(b"<script", f'<script nonce="{nonce}"'.encode())
    kept = [pair for pair in headers if pair[0].lower() != b"content-length"]
    policy = (b"content-security-policy", make_policy(nonce).encode())
    return [*kept, (b"content-length", str(len(body)).encode()), policy], body
