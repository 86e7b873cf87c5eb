"""How files are asked for over HTTP."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

import captionseg
from captionseg.typed import AboveZero, Count, Natural, ZeroOrMore

OPT_OUT = ("noai", "noimageai", "noindex", "noimageindex")
"""Directives of X-Robots-Tag by which a server says that a file is not for training; those of
img2dataset.
"""


@dataclass(frozen=True)
class HttpParams:
    """Fields of `http` of a source that fetches files.

    Attributes:
        contact: who asks, for the User-Agent: a mail address or a page about you.
        connections: at once, of all worker processes together.
        connections_per_host: likewise, to one host and port. No more processes download than this,
            so that it holds for all of them.
        connect_timeout: seconds for the name's address, the connection and TLS.
        read_timeout: seconds without a byte.
        total_timeout: seconds for one request, with its body.
        min_speed: bytes a second; a body that stays below it for `patience` seconds is given up.
        patience: seconds.
        retries: further requests after one that may go better the next time: no connection, a
            time-out, a short body, 429, 5xx.
        backoff: seconds before the first of them; each further wait is twice as long, and all are
            shortened at random by up to a half.
        max_wait: seconds that are waited at most, whatever Retry-After says.
        redirects: that are followed.
        max_megabytes: of a body, unpacked; 10**6 bytes each.
        opt_out: directives of X-Robots-Tag that are honoured; [] for none.
        allow_private: also addresses that are not of the public internet.
        allow: networks, such as 10.1.0.0/16, that are asked although they are not public.
        proxies: take HTTP_PROXY, HTTPS_PROXY and NO_PROXY from the environment. A proxy finds the
            addresses of names by itself, so these are not checked here.
    """

    contact: str = ""
    connections: Count = 64
    connections_per_host: Count = 8
    connect_timeout: AboveZero = 10.0
    read_timeout: AboveZero = 15.0
    total_timeout: AboveZero = 90.0
    min_speed: ZeroOrMore = 2000.0
    patience: AboveZero = 10.0
    retries: Natural = 2
    backoff: AboveZero = 1.0
    max_wait: ZeroOrMore = 60.0
    redirects: Annotated[int, Interval(ge=0, le=50)] = 5
    max_megabytes: AboveZero = 50.0
    opt_out: tuple[str, ...] = OPT_OUT
    allow_private: bool = False
    allow: tuple[str, ...] = ()
    proxies: bool = False

    def __post_init__(self) -> None:
        for network in self.allow:
            ipaddress.ip_network(network)
        if not (self.contact.isprintable() and self.contact.isascii()):
            raise ValueError(f"contact is a line of ASCII, found {self.contact!r}")

    @property
    def max_bytes(self) -> int:
        """Of a body."""
        return int(self.max_megabytes * 1e6)

    @property
    def user_agent(self) -> str:
        """What we call ourselves."""
        name = f"captionseg/{captionseg.__version__}"
        return f"{name} (+{self.contact})" if self.contact else name
