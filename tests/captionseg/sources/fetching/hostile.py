"""A server of pictures on 127.0.0.1 that does all that servers do wrong, by the path asked for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import io
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import numpy as np
from PIL import Image

HERE = "127.0.0.1"
UNHURRIED = {
    "connect_timeout": 240.0,
    "read_timeout": 240.0,
    "total_timeout": 240.0,
    "patience": 240.0,
}
"""Limits of HttpParams for what comes, which may take seconds on a busy machine."""
PROXIED = "http://pictures.invalid"  # it is the proxy of this host
PAGE = b"<!DOCTYPE html><html><body>Not found</body></html>"


def draw_jpeg(number: int, side: int = 48) -> bytes:
    """A picture of its own for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(stream, "JPEG")
    return stream.getvalue()


def draw_bomb(side: int = 40_000) -> bytes:
    """A small PNG of so many pixels a side, all black."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = zlib.compress(b"\0" * (side // 8 + 1) * 100, 9)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def answer(body: bytes, *headers: str, status: str = "200 OK", kind: str = "image/jpeg") -> bytes:
    """A whole answer of HTTP; without a type where kind is empty."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    lines += [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def move(to: str, status: str = "302 Found") -> bytes:
    return answer(b"", f"Location: {to}", status=status)


GOOD = draw_jpeg(0)
ALWAYS = {
    "/untyped": answer(GOOD, kind=""),
    "/bytes": answer(GOOD, kind="application/octet-stream"),
    "/bytes-of-text": answer(b"hello, this is text", kind="application/octet-stream"),
    "/page": answer(PAGE, kind="text/html; charset=utf-8"),
    "/page.jpg": answer(PAGE, kind="image/jpeg"),
    "/drawing.svg": answer(b"<svg/>", kind="image/svg+xml"),
    "/video.mp4": answer(b"....", kind="video/mp4"),
    "/empty.jpg": answer(b""),
    "/nothing.jpg": answer(b"", status="204 No Content"),
    "/truncated.jpg": answer(GOOD).replace(
        f"Length: {len(GOOD)}".encode(), f"Length: {len(GOOD) + 500}".encode()
    ),
    "/announced-huge.jpg": answer(GOOD).replace(
        f"Length: {len(GOOD)}".encode(), b"Length: 99999999999"
    ),
    "/huge.jpg": answer(GOOD + bytes(2_000_000)),
    "/damaged.jpg": answer(GOOD[: len(GOOD) // 2]),
    "/packed.jpg": answer(gzip.compress(GOOD), "Content-Encoding: gzip"),
    "/deflated.jpg": answer(zlib.compress(GOOD), "Content-Encoding: deflate"),
    "/packed-short.jpg": answer(gzip.compress(GOOD)[:-30], "Content-Encoding: gzip"),
    "/brotli.jpg": answer(GOOD, "Content-Encoding: br"),
    "/noai.jpg": answer(GOOD, "X-Robots-Tag: noarchive", "X-Robots-Tag: NoAI, noimageai"),
    "/none.jpg": answer(GOOD, "X-Robots-Tag: none"),
    "/noai-to-others.jpg": answer(GOOD, "X-Robots-Tag: otherbot: noai, noindex"),
    "/noai-to-us.jpg": answer(GOOD, "X-Robots-Tag: captionseg: noindex"),
    "/expires.jpg": answer(
        GOOD, "X-Robots-Tag: unavailable_after: 25 Jun 2030 15:00:00 PST, noarchive"
    ),
    "/moved.jpg": move("/good/0.jpg"),
    "/moved-for-good.jpg": move("good/0.jpg?a=b%20c", "301 Moved Permanently"),
    "/loop.jpg": move("/loop.jpg"),
    "/to-link-local.jpg": move("http://169.254.1.1/latest/meta-data"),
    "/to-neighbour.jpg": move("http://127.0.0.2:1/"),
    "/to-decimal.jpg": move("http://2130706434/"),
    "/to-file.jpg": move("file:///etc/passwd"),
    "/to-secret.jpg": move("http://user:word@127.0.0.1/"),
    "/to-nowhere.jpg": answer(b"", status="302 Found"),
    "/missing.jpg": answer(PAGE, status="404 Not Found", kind="text/html"),
    "/gone.jpg": answer(PAGE, status="410 Gone", kind="text/html"),
    "/secret.jpg": answer(PAGE, status="401 Unauthorized", kind="text/html"),
    "/forbidden.jpg": answer(PAGE, status="403 Forbidden", kind="text/html"),
    "/teapot.jpg": answer(PAGE, status="418 I'm a teapot", kind="text/html"),
    "/part.jpg": answer(GOOD, status="206 Partial Content"),
    "/failing.jpg": answer(PAGE, status="500 Internal Server Error", kind="text/html"),
    "/no-http.jpg": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "/long-header.jpg": answer(GOOD, "X-Long: " + "x" * 100_000),
}


@functools.cache
def grow(path: str) -> bytes:
    """Answers that become large where they are read; half a second to make."""
    if path == "/bomb.png":
        return answer(draw_bomb(), kind="image/png")
    return answer(gzip.compress(GOOD + bytes(50_000_000)), "Content-Encoding: gzip")


class Hostile:
    """The server, in a thread of its own.

    Attributes:
        asked: requests by path.
        requests: their heads.
        port: of 127.0.0.1.
        busiest: most requests that were answered at once.
    """

    def __init__(self, pause: float = 0.0) -> None:
        self.asked: Counter[str] = Counter()
        self.requests: list[str] = []
        self.pause, self.port, self.busy, self.busiest = pause, 0, 0, 0
        self.repaired = False  # whether what was lost for a time is there again

    def url(self, path: str) -> str:
        return f"http://{HERE}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while True:
                if (first := await reader.readexactly(1)) == b"\x16":  # as TLS begins
                    writer.write(answer(b"", status="400 Bad Request"))
                    break
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
                self.requests.append(head)
                path = head.split()[1].removeprefix(PROXIED).partition("?")[0]
                self.asked[path] += 1
                self.busy += 1
                self.busiest = max(self.busy, self.busiest)
                try:
                    await asyncio.sleep(self.pause)
                    kept = await self.respond(path, writer)
                finally:
                    self.busy -= 1
                if not kept:
                    break
        writer.close()

    async def respond(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Answer; is the connection kept?"""
        if path.startswith("/good/"):
            writer.write(answer(draw_jpeg(int(path[6:-4]))))
        elif path in ALWAYS:
            writer.write(ALWAYS[path])
        elif path in ("/bomb.png", "/packed-bomb.jpg"):
            writer.write(grow(path))
        elif path in (once := self.once()):
            first, later = once[path]
            writer.write(first if self.asked[path] == 1 else later)
        else:
            await getattr(self, path.strip("/").partition(".")[0])(writer)
            return False
        await writer.drain()
        return path.startswith("/good/")

    def once(self) -> dict[str, tuple[bytes, bytes]]:
        """Answers to the first request, and to all later ones."""
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=1.2), usegmt=True)
        lost = answer(PAGE, status="404 Not Found", kind="text/html")
        busy = "429 Too Many Requests"
        return {
            "/lost.jpg": (lost, answer(GOOD)),
            "/mended.jpg": (lost, answer(GOOD) if self.repaired else lost),
            "/busy.jpg": (answer(b"", "Retry-After: 1", status=busy), answer(GOOD)),
            "/busy-until.jpg": (answer(b"", f"Retry-After: {soon}", status=busy), answer(GOOD)),
            "/busy-for-an-hour.jpg": (answer(b"", "Retry-After: 3600", status=busy), answer(GOOD)),
            "/failed-once.jpg": (answer(b"", status="503 Service Unavailable"), answer(GOOD)),
        }

    async def slow(self, writer: asyncio.StreamWriter) -> None:
        whole = answer(GOOD)
        for start in range(0, len(whole), len(whole) // 4):
            writer.write(whole[start : start + len(whole) // 4])
            await writer.drain()
            await asyncio.sleep(0.05)

    async def stalled(self, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(GOOD)[: -len(GOOD) // 2])
        await writer.drain()
        await asyncio.sleep(600)

    async def silent(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(600)

    async def trickle(self, writer: asyncio.StreamWriter) -> None:
        whole = answer(GOOD)
        writer.write(whole[: -len(GOOD)])
        for byte in GOOD:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async def endless(self, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while True:
            writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
            await writer.drain()

    async def chunked(self, writer: asyncio.StreamWriter) -> None:
        """Ends before its last chunk."""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(f"{len(GOOD):x}\r\n".encode() + GOOD + b"\r\n")
        await writer.drain()

    async def reset(self, writer: asyncio.StreamWriter) -> None:
        self._reset(writer)

    async def reset_later(self, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(GOOD)[: -len(GOOD) // 2])
        await writer.drain()
        await asyncio.sleep(0.05)
        self._reset(writer)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def cookie(self, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(GOOD, "Set-Cookie: known=1; Path=/"))
        await writer.drain()


@contextlib.contextmanager
def serving(pause: float = 0.0) -> Iterator[Hostile]:
    """A server that runs.

    Args:
        pause: seconds before each answer.
    """
    hostile, loop = Hostile(pause), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(hostile.serve, HERE, 0)
        hostile.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    started = threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    assert started.wait(240)
    try:
        yield hostile
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
