"""A client of HTTP that asks politely, trusts no answer, and ends each URL with bytes or a
Refusal.
"""

from __future__ import annotations

import asyncio
import random
import socket
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from weakref import WeakValueDictionary

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    SocketTimeoutError,
    TCPConnector,
)
from aiohttp.client_exceptions import ClientResponseError
from yarl import URL

from captionseg.records import one_line
from captionseg.sources.fetching.addresses import (
    AddressPolicy,
    CheckedResolver,
    RefusedAddress,
    check_url,
)
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.fetching.replies import MOVED, read_picture, read_retry_after
from captionseg.sources.reasons import Refusal

Outcome = bytes | Refusal
Host = tuple[str, int]  # name and port
PATIENCE = 0.02  # seconds between two looks at whether there is room
AGAIN = ("connection_failed", "timed_out", "too_slow", "truncated", "rate_limited", "server_error")
"""Reasons of a request that may go better the next time."""


class Client:
    """Asks for URLs, from within one event loop.

    Args:
        params: how.
        workers: processes that share the connections of `params`.
    """

    def __init__(self, params: HttpParams, workers: int = 1) -> None:
        self.params, self.policy = params, AddressPolicy(params)
        self.connections = max(1, params.connections // workers)
        self.per_host = max(1, params.connections_per_host // workers)
        self.slots = asyncio.Semaphore(self.connections)
        # it asks for addresses of names; by default it has a few threads only
        threads = ThreadPoolExecutor(min(64, self.connections), "names")
        asyncio.get_running_loop().set_default_executor(threads)
        # of hosts that somebody asks just now; there may be millions
        self.host_slots: WeakValueDictionary[Host, asyncio.Semaphore] = WeakValueDictionary()
        self.ready_at: dict[Host, float] = {}  # when those want to be asked that said so
        self.proxies = urllib.request.getproxies() if params.proxies else {}
        trusted = [URL(proxy).host or "" for proxy in self.proxies.values()]
        self.session = ClientSession(
            connector=TCPConnector(
                limit=0,  # the slots say how many
                resolver=CheckedResolver(self.policy, trusted),
                ttl_dns_cache=300,
            ),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            headers={
                "User-Agent": params.user_agent,
                "Accept": "image/*",
                "Accept-Encoding": "identity",
            },
            timeout=ClientTimeout(
                total=None, connect=params.connect_timeout, sock_read=params.read_timeout
            ),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()

    async def fetch(self, url: str, room: Callable[[], bool] = lambda: True) -> Outcome:
        """The bytes of the picture at a URL, or why there are none, after retries.

        Args:
            url: any text.
            room: whether there is room for one more picture; asked before each request.
        """
        for attempt in range(self.params.retries + 1):
            if attempt:
                await asyncio.sleep(draw_wait(url, attempt, self.params))
            try:
                return await self._follow(url.strip(), room)
            except Refusal as refusal:
                refused = refusal.with_traceback(None)
                if refusal.reason not in AGAIN or isinstance(refusal, _Wait):
                    break
        return Refusal(refused.reason, str(refused))

    async def _follow(self, url: str, room: Callable[[], bool]) -> bytes:
        """The picture, wherever it has moved; every step is checked as the first one."""
        for _ in range(self.params.redirects + 1):
            target = check_url(url, self.policy)
            while (found := await self._ask_in_turn(target, room)) is None:
                await asyncio.sleep(PATIENCE)
            if isinstance(found, bytes):
                return found
            try:
                url = str(target.join(URL(found)))
            except ValueError as error:
                raise Refusal("bad_url", f"moved to no URL: {error}") from None
        raise Refusal("too_many_redirects", f"more than {self.params.redirects}")

    async def _ask_in_turn(self, url: URL, room: Callable[[], bool]) -> bytes | str | None:
        """`_ask` when its host and all of us have a connection to spare; None without room."""
        if not room():
            return None
        host = (str(url.host), int(url.port or 0))
        clock = asyncio.get_running_loop().time
        if (mine := self.host_slots.get(host)) is None:
            mine = self.host_slots[host] = asyncio.Semaphore(self.per_host)
        async with AsyncExitStack() as slots:
            await slots.enter_async_context(mine)
            while (wait := self.ready_at.get(host, 0.0) - clock()) > 0:
                if wait > self.params.max_wait:
                    raise _Wait(
                        "rate_limited", f"the host asks to wait for {wait:.0f} s, above max_wait"
                    )
                await asyncio.sleep(wait)
            await slots.enter_async_context(self.slots)
            return await self._ask(url, host) if room() else None

    async def _ask(self, url: URL, host: Host) -> bytes | str:
        """The bytes of a picture, or where it has moved."""
        try:
            async with (
                asyncio.timeout(self.params.total_timeout),
                self.session.get(url, allow_redirects=False, proxy=self._proxy(url)) as response,
            ):
                try:
                    return await self._read(response, host)
                except BaseException:
                    response.close()  # what it still sends is not waited for
                    raise
        except (OSError, ClientError, ValueError) as error:
            raise explain(error) from None

    async def _read(self, response: ClientResponse, host: Host) -> bytes | str:
        if response.status in MOVED and (location := response.headers.get("Location")):
            return location
        if response.status in (429, 503) and (wait := read_retry_after(response.headers)):
            now = asyncio.get_running_loop().time()
            self.ready_at[host] = max(self.ready_at.get(host, 0.0), now + wait)
        return await read_picture(response, self.params)

    def _proxy(self, url: URL) -> str | None:
        if self.proxies and not urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
            return self.proxies.get(url.scheme)
        return None


def draw_wait(url: str, attempt: int, params: HttpParams) -> float:
    """Seconds before a further attempt, the first of which is 1.

    The draw is seeded, so that a run can be repeated; by the URL, so that not all wait for as long.
    """
    shortened = 1 - random.Random(f"{attempt} {url}").random() / 2
    return min(params.backoff * 2 ** (attempt - 1) * shortened, params.max_wait)


class _Wait(Refusal):
    """The host is not to be asked for longer than anybody waits."""


def explain(error: Exception) -> Refusal:
    """What went wrong while a server was asked, as one of the reasons."""
    if isinstance(error, TimeoutError):
        over = {ConnectionTimeoutError: "no connection", SocketTimeoutError: "not a byte"}
        what = next((text for kind, text in over.items() if isinstance(error, kind)), "not whole")
        return Refusal("timed_out", f"{what} in time")
    inner = getattr(error, "os_error", error)
    if isinstance(inner, RefusedAddress):
        reason = "refused_address"
    elif (
        isinstance(error, ClientConnectorDNSError)
        and getattr(inner, "errno", 0) != socket.EAI_AGAIN
    ):
        reason = "unknown_host"
    elif isinstance(error, ClientSSLError | ClientConnectorCertificateError):
        reason = "tls_failed"
    elif isinstance(error, ClientResponseError):
        reason = "http_error"
    elif isinstance(error, OSError) or not isinstance(error, ValueError):
        reason = "connection_failed"
    else:
        reason = "bad_url"  # aiohttp's InvalidURL, and names that IDNA has no form for
    return Refusal(reason, one_line(inner) or type(error).__name__)
