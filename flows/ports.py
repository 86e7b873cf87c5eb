"""Finds which process listens on which port of this machine."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import psutil

from flows import daemons

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # reached without a proxy


def is_free(host: str, port: int) -> bool:
    """Return whether a port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def list_listening(folder: Path) -> set[int]:
    """Return the ports that the daemons of `folder` listen on."""
    listening = set()
    for _, process in daemons.list_marked(folder):
        with contextlib.suppress(psutil.Error, OSError):
            listening |= {
                one.laddr.port
                for one in process.net_connections("tcp")
                if one.status == psutil.CONN_LISTEN
            }
    return listening


def describe_holder(port: int) -> str:
    """Describe the process that listens on a port; that of another user may be unknown."""
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if (
                one.status == psutil.CONN_LISTEN
                and one.laddr
                and one.laddr.port == port
                and one.pid
            ):
                return f"another program (pid {one.pid}: {_words(psutil.Process(one.pid))})"
    return "another program"


def _words(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error, OSError):
        if mark := process.environ().get(daemons.MARK):
            return f"a service started in {mark.split(':', 2)[-1].removesuffix('/.services')}"
    return " ".join(process.cmdline())[:80] or process.name()
