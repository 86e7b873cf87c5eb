"""Which hosts are asked: those of the public internet, unless the user allows others.

A URL of a list, or a redirect, may point at a service that only this machine can see. What is
checked is the address that is connected to: `CheckedResolver` gives aiohttp no other, so a name
that has another address a moment later gains nothing.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from functools import cached_property

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from captionseg.records import one_line
from captionseg.sources.fetching.params import HttpParams
from captionseg.sources.reasons import Refusal

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address is in the last 32 bits
SPECIAL = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",
        "2001::/23",
        "3fff::/20",
        "5f00::/16",
    )
]
"""Of IANA's special-purpose registries, what Python 3.11's `is_global` does not know, or not all
of.
"""
LONGEST_URL = 8000  # characters; aiohttp's servers and most others take no more


class RefusedAddress(OSError):
    """No address of a host may be asked."""


class AddressPolicy:
    """What `allow_private` and `allow` let through.

    Args:
        params: with these two.
    """

    def __init__(self, params: HttpParams) -> None:
        self.everything = params.allow_private
        self.networks = [ipaddress.ip_network(network) for network in params.allow]

    def allows(self, address: Address) -> bool:
        """May this address be connected to?"""
        return (
            self.everything
            or any(address in network for network in self.networks)
            or is_public(address)
        )


def is_public(address: Address) -> bool:
    """Is it of the public internet: not private, loopback, link-local, shared (CGNAT), multicast,
    reserved, and none of these within an IPv6 address.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(inside)
    return address.is_global and not (
        any(address in network for network in SPECIAL)
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or getattr(address, "is_site_local", False)
    )


def read_literal(host: str) -> Address | None:
    """The address that a host is, in any form that a system reads as one (127.1, 2130706433,
    0x7f.0.0.1); None for a name.
    """
    host = host.strip("[]").partition("%")[0].rstrip(".")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    if re.fullmatch(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}", host, re.IGNORECASE):
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            raise Refusal("bad_url", one_line(f"{host} is no address")) from None
    return None


def check_url(text: str, policy: AddressPolicy) -> URL:
    """A URL that may be asked for, as far as it can be seen from it.

    Raises:
        Refusal: bad_url, refused_address.
    """
    if len(text) > LONGEST_URL:
        raise Refusal("bad_url", f"longer than {LONGEST_URL} characters")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise Refusal("bad_url", "has control characters in it")
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError as error:
        raise Refusal("bad_url", one_line(error)) from None
    if url.scheme not in ("http", "https"):
        raise Refusal("bad_url", one_line(f"scheme {url.scheme or 'missing'}, not http or https"))
    if not host or not port:
        raise Refusal("bad_url", "names no host")
    if url.raw_user is not None or url.raw_password is not None:
        raise Refusal("bad_url", "has a name or password in it")
    url, address = url.with_fragment(None), read_literal(host)
    if address is not None and not policy.allows(address):
        raise Refusal("refused_address", f"{address} is not of the public internet")
    return url if address is None or host == str(address) else url.with_host(str(address))


class CheckedResolver(AbstractResolver):
    """aiohttp's resolver of names without the addresses that may not be asked.

    Args:
        policy: says which.
        trusted: hosts that are not checked: the user's proxies.
    """

    def __init__(self, policy: AddressPolicy, trusted: Collection[str] = ()) -> None:
        self.policy, self.trusted = policy, trusted

    @cached_property
    def names(self) -> AbstractResolver:
        """The system's; it needs a running loop."""
        return ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """See AbstractResolver.

        Raises:
            RefusedAddress: if none is left.
            OSError: as the system says.
        """
        found = await self.names.resolve(host, port, family)
        if host in self.trusted:
            return found
        allowed = [
            one
            for one in found
            if self.policy.allows(ipaddress.ip_address(one["host"].partition("%")[0]))
        ]
        if found and not allowed:
            raise RefusedAddress(f"{host} is {found[0]['host']}, not of the public internet")
        return allowed

    async def close(self) -> None:
        """See AbstractResolver."""
        await self.names.close()
