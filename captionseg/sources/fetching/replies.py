"""What a server answered: a picture's bytes, where to look instead, or why there is nothing."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from aiohttp import ClientError, ClientResponse
from multidict import CIMultiDictProxy

from captionseg.records import one_line
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.reasons import Refusal

MOVED = (301, 302, 303, 307, 308)
UNTYPED = (
    "",
    "application/octet-stream",
    "binary/octet-stream",
    "application/binary",
    "application/x-binary",
)
"""Types of a server that does not know what the file is."""
MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|BM|P[56]\s|II\*\0|MM\0\*|....ftyp(?:avi|hei|mif)",
    re.DOTALL,
)
MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<|\{)")
GZIP, ZLIB, RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def check_status(status: int) -> None:
    """Refuse every status but success.

    Raises:
        Refusal: with the reason of that status.
    """
    if status in (200, 203):
        return
    reason = {
        204: "empty",
        401: "forbidden",
        403: "forbidden",
        404: "not_found",
        408: "timed_out",
        410: "not_found",
        429: "rate_limited",
        451: "forbidden",
    }.get(status, "server_error" if status >= 500 else "http_error")
    raise Refusal(reason, f"HTTP {status}")


def check_robots(headers: CIMultiDictProxy[str], directives: Collection[str], product: str) -> None:
    """Refuse what its server does not want to be used.

    Args:
        headers: of the answer; X-Robots-Tag may be there several times, for all or for one agent.
        directives: that are honoured; `none` is noindex and nofollow.
        product: our name as an agent.

    Raises:
        Refusal: opted_out.
    """
    opt_outs = {one.lower() for one in directives}
    opt_outs |= {"none"} if "noindex" in opt_outs else set()
    for value in headers.getall("X-Robots-Tag", ()):
        agent = ""
        for part in value.lower().split(","):
            name, colon, directive = (piece.strip() for piece in part.rpartition(":"))
            if colon and not name.startswith(("unavailable_after", "max-")):
                agent = name  # of this directive, and of those behind it
            if directive in opt_outs and agent in ("", "*", product):
                raise Refusal("opted_out", f"X-Robots-Tag: {one_line(value, 80)}")


def read_type(headers: CIMultiDictProxy[str]) -> str:
    """The type of a body, such as image/jpeg; empty where the server names none.

    Raises:
        Refusal: wrong_type, where it can be no picture.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    pictures = kind.startswith("image/") and not kind.startswith("image/svg")
    if not pictures and kind not in UNTYPED:
        raise Refusal("wrong_type", f"Content-Type: {one_line(kind, 80)}")
    return kind


def check_start(body: bytes, kind: str) -> None:
    """Refuse a body that begins as no picture does, whatever its name or type.

    Raises:
        Refusal: empty, wrong_type.
    """
    if not body:
        raise Refusal("empty", "no bytes")
    if MARKUP.match(body[:100]):
        raise Refusal("wrong_type", f"a page or text, sent as {kind or 'no type'}")
    if kind in UNTYPED and not MAGIC.match(body[:20]):
        raise Refusal("wrong_type", f"begins as no known picture, sent as {kind or 'no type'}")


def read_retry_after(headers: CIMultiDictProxy[str]) -> float:
    """Seconds that Retry-After asks to wait, from a number or a date; 0 where there is none."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    now = datetime.now(UTC)
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds())


class Unpacker:
    """The content of a body as it arrives, never more of it than is allowed.

    Args:
        encoding: of the body, as Content-Encoding says.
        most: bytes of content.

    Raises:
        Refusal: wrong_type, for an encoding that we did not ask for and cannot read.
    """

    def __init__(self, encoding: str, most: int) -> None:
        self.most, self.content = most, bytearray()
        self.encoding = encoding.strip().lower()
        if self.encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise Refusal("wrong_type", f"Content-Encoding: {one_line(encoding, 40)}")
        self.packed = self.encoding not in ("", "identity")
        self.unpack = zlib.decompressobj(GZIP if "gzip" in self.encoding else ZLIB)
        self.begun = False

    def add(self, data: bytes) -> None:
        """The next bytes.

        Raises:
            Refusal: too_large; truncated, where they cannot be unpacked.
        """
        room = self.most - len(self.content)
        if self.packed:
            data = self._unpack(data, room + 1)
        if len(data) > room:
            raise Refusal("too_large", f"more than {self.most / 1e6:g} MB")
        self.content += data

    def _unpack(self, data: bytes, most: int) -> bytes:
        if not self.begun and self.encoding == "deflate" and data and data[0] & 15 != 8:
            self.unpack = zlib.decompressobj(RAW)  # as some servers have it
        self.begun = True
        try:
            return self.unpack.decompress(data, most)
        except zlib.error as error:
            raise Refusal(
                "truncated", f"Content-Encoding {self.encoding} is damaged: {error}"
            ) from None

    def end(self) -> bytes:
        """All of the content.

        Raises:
            Refusal: truncated.
        """
        if self.packed and self.begun and not self.unpack.eof:
            raise Refusal("truncated", f"Content-Encoding {self.encoding} ends too early")
        return bytes(self.content)


class Pace:
    """Refuses a body of which too little arrives.

    Args:
        min_speed: bytes a second.
        patience: seconds over which it is measured.
        now: seconds of any clock.
    """

    def __init__(self, min_speed: float, patience: float, now: float) -> None:
        self.least, self.patience, self.since, self.count = min_speed * patience, patience, now, 0

    def add(self, count: int, now: float) -> None:
        """So many bytes have arrived.

        Raises:
            Refusal: too_slow.
        """
        self.count += count
        if now - self.since < self.patience:
            return
        speed = self.count / (now - self.since)
        if speed * self.patience < self.least:
            raise Refusal("too_slow", f"{speed:.0f} bytes a second")
        self.since, self.count = now, 0


async def read_picture(response: ClientResponse, params: HttpParams) -> bytes:
    """The body of an answer, if it is what a picture looks like.

    Raises:
        Refusal: for any other answer.
    """
    check_status(response.status)
    check_robots(response.headers, params.opt_out, "captionseg")
    kind = read_type(response.headers)
    length = response.content_length
    if length is not None and length > params.max_bytes:
        raise Refusal(
            "too_large", f"{length / 1e6:.1f} MB, more than {params.max_bytes / 1e6:g} MB"
        )
    unpacker = Unpacker(response.headers.get("Content-Encoding", ""), params.max_bytes)
    clock = asyncio.get_running_loop().time
    pace, received = Pace(params.min_speed, params.patience, clock()), 0
    try:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            unpacker.add(chunk)
            pace.add(len(chunk), clock())
    except TimeoutError:
        raise
    except (ClientError, ConnectionError):
        announced = f" of {length}" if length is not None else ""
        raise Refusal("truncated", f"ends after {received}{announced} bytes") from None
    body = unpacker.end()
    check_start(body, kind)
    return body
