"""Who is answered, with which headers; without a server."""

from __future__ import annotations

import asyncio
import re

import pytest

from captionseg.demo.guard import Guard

PAGE = b'<html><script>1</script><script src="a.js"></script>&lt;script'


def answer(headers: dict[str, str], *, kind: str = "http", body: bytes = b"", page: bool = True):
    """What a guarded application sends for a request, and the request as it sees it."""
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.append({**scope, "body": await receive()})
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        type_ = b"text/html; charset=utf-8" if page else b"text/javascript"
        head = [(b"content-type", type_), (b"content-length", b"62")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": PAGE[:30], "more_body": True})
        await send({"type": "http.response.body", "body": PAGE[30:]})

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        sent.append(message)

    given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(app, largest=10)({"type": kind, "headers": given}, receive, send))
    return seen, sent


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Host": "127.0.0.1:8080"}, True),
        ({"Host": "localhost:9000"}, True),  # the other end of a tunnel
        ({"Host": "localhost:9000", "Origin": "http://localhost:9000"}, True),
        ({"Host": "LOCALHOST:1"}, True),
        ({}, False),
        ({"Host": "example.org:8080"}, False),  # its name was made to point here
        ({"Host": "127.0.0.1.example.org"}, False),
        ({"Host": "localhost@example.org"}, False),
        ({"Host": "[::1"}, False),
        ({"Host": "127.0.0.1:8080", "Origin": "http://example.org"}, False),
        ({"Host": "127.0.0.1:8080", "Origin": "http://127.0.0.1:3000"}, False),
        ({"Host": "127.0.0.1:8080", "Origin": "http://localhost:8080"}, False),
        ({"Host": "127.0.0.1:8080", "Origin": "null"}, False),
        ({"Host": "localhost", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, True),
        ({"Host": "localhost", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),
        ({"Host": "localhost", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        ({"Host": "localhost", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_only_its_own_pages_under_its_own_names(headers, passes, kind):
    seen, sent = answer(headers, kind=kind)
    assert bool(seen) == passes
    if not passes:
        first = {"http": ("http.response.start", 403), "websocket": ("websocket.close", 1008)}[kind]
        assert (sent[0]["type"], sent[0].get("status", sent[0].get("code"))) == first


def test_a_page_has_a_policy_and_its_scripts_the_nonce_of_this_answer():
    nonces = []
    for _ in range(2):
        _, (start, rest) = answer({"Host": "localhost"})
        headers = dict(start["headers"])
        policy = headers[b"content-security-policy"].decode()
        nonce = re.search("'nonce-([^']+)'", policy)[1]  # type: ignore[index]
        assert "default-src 'none'" in policy
        assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
        own = f'<script nonce="{nonce}"'.encode()
        assert rest["body"] == PAGE.replace(b"<script", own)
        assert int(headers[b"content-length"]) == len(rest["body"])
        assert headers[b"x-content-type-options"] == b"nosniff"
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


def test_other_answers_go_through_as_they_come():
    _, sent = answer({"Host": "localhost"}, page=False)
    assert [message.get("body") for message in sent] == [None, PAGE[:30], PAGE[30:]]
    assert (b"content-length", b"62") in sent[0]["headers"]


def test_what_is_too_large_is_not_read_and_no_proxy_is_believed():
    (seen,), _ = answer({"Host": "localhost", "X-Forwarded-Prefix": "/x"}, body=b"x" * 10)
    assert seen["body"]["body"] == b"x" * 10
    assert seen["headers"] == [(b"host", b"localhost")]
    (seen,), _ = answer({"Host": "localhost"}, body=b"x" * 11)
    assert seen["body"] == {"type": "http.disconnect"}
