"""No name server is asked: localhost is 127.0.0.1, and there is no other name."""

import socket

import pytest

from captionseg.sources.fetching import addresses
from tests.captionseg.sources.fetching.hostile import HERE, serving


class Resolver:
    """In place of aiohttp's ThreadedResolver.

    Attributes:
        names: name -> its addresses, in turn, the last one for ever; an exception is raised.
        asked: the names.
    """

    names = {"localhost": [HERE]}  # noqa: RUF012
    asked: list[str] = []  # noqa: RUF012

    async def resolve(self, host, port=0, family=0):
        self.asked.append(host)
        found = self.names.get(host, [socket.gaierror(socket.EAI_NONAME, "no such name")])
        address = found[min(self.asked.count(host), len(found)) - 1]
        if isinstance(address, Exception):
            raise address
        return [
            {"hostname": host, "host": one, "port": port, "family": 2, "proto": 6, "flags": 0}
            for one in address.split()
        ]

    async def close(self):
        """Nothing is open."""


@pytest.fixture(autouse=True)
def resolver(monkeypatch):
    monkeypatch.setattr(addresses, "ThreadedResolver", Resolver)
    monkeypatch.setattr(Resolver, "names", dict(Resolver.names))
    monkeypatch.setattr(Resolver, "asked", [])
    return Resolver


@pytest.fixture(scope="module")
def server():
    with serving() as hostile:
        yield hostile
