"""Determines the rank of this process, and starts the other processes that train the same model.
Imports no torch.

Uses torchrun's environment: RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT. Without RANK
this process is the first on its machine, NODE_RANK or 0, and starts the others with its own
command line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from captionseg.records import UserError
from captionseg.runtime.lifeline import follow_parent
from captionseg.runtime.params import RuntimeParams

log = logging.getLogger(__name__)

PARENT = "CAPTIONSEG_PARENT"
GRACE = 20.0  # seconds in which a process should notice that another was lost
FAREWELL = 60.0  # seconds in which other processes must end after the first


class LostProcess(UserError):
    """Another process no longer answers."""


@dataclass(frozen=True)
class Place:
    """One of several processes: number `rank` of `world`, number `local` on its machine."""

    rank: int = 0
    local: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether it is the process that writes."""
        return self.rank == 0


def read_place(params: RuntimeParams, environ: Mapping[str, str] = os.environ) -> Place:
    """Read the place of this process from the environment.

    Raises:
        UserError: if it does not match `runtime.devices` and `runtime.nodes`.
    """
    world = params.devices * params.nodes
    variables = {
        name: _number(environ, name) for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE")
    }
    if variables["WORLD_SIZE"] not in (None, world):
        raise UserError(
            f"WORLD_SIZE is {variables['WORLD_SIZE']}, but runtime.devices x runtime.nodes is "
            f"{world}; make them equal, or unset WORLD_SIZE"
        )
    if world == 1:
        return Place()
    if variables["RANK"] is not None:
        rank, local = variables["RANK"], variables["LOCAL_RANK"]
        return _inside(
            Place(rank, rank % params.devices if local is None else local, world), params
        )
    if params.nodes > 1 and not (
        environ.get("MASTER_ADDR")
        and environ.get("MASTER_PORT")
        and variables["NODE_RANK"] is not None
    ):
        raise UserError(
            f"runtime.nodes is {params.nodes}: set MASTER_ADDR, MASTER_PORT and NODE_RANK (0 on "
            "the first) on every machine; see docs/operations.md"
        )
    return _inside(Place((variables["NODE_RANK"] or 0) * params.devices, 0, world), params)


def _inside(place: Place, params: RuntimeParams) -> Place:
    if not 0 <= place.rank < place.world or not 0 <= place.local < params.devices:
        raise UserError(
            f"rank {place.rank}, local rank {place.local}, does not exist with {params.nodes} "
            f"machines and {params.devices} processes each; check RANK, LOCAL_RANK and NODE_RANK"
        )
    return place


def _number(environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(name, "")
    if text and not text.isdecimal():
        raise UserError(f"{name} is {text!r}, which is not a number")
    return int(text) if text else None


@contextlib.contextmanager
def start_processes(params: RuntimeParams) -> Iterator[Place]:
    """Run the other processes while the block runs, with os.environ set as torchrun does.

    The first process on a machine starts the others. After the block it waits for them; if it
    fails or is ended, they end too. If one of them fails, this process fails.

    Raises:
        UserError: if another process on this machine failed.
    """
    here = read_place(params)
    before = dict(os.environ)
    own = "RANK" in before  # a launcher starts and watches the processes
    address = (
        {}
        if own or params.nodes > 1
        else {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_port())}
    )
    os.environ.update(
        address,
        WORLD_SIZE=str(here.world),
        GROUP_RANK=str(here.rank // params.devices),
        **{"RANK": str(here.rank), "LOCAL_RANK": str(here.local)},
    )
    if params.nodes == 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    if parent := os.environ.pop(PARENT, ""):
        follow_parent(int(parent))
    others = (
        {} if own else {here.rank + n: _start(here.rank + n, n) for n in range(1, params.devices)}
    )
    watch = _Watch(others)
    watch.start()
    try:
        yield here
        watch.over.set()
        watch.wait()
    except Exception as error:
        own_mistake = isinstance(error, UserError) and not isinstance(error, LostProcess)
        if not own_mistake and (lost := watch.lost(seconds=1.0)):
            raise UserError(lost) from error
        raise
    finally:
        watch.end()
        os.environ.clear()
        os.environ.update(before)


def _start(rank: int, local: int) -> subprocess.Popen[bytes]:
    environ = os.environ | {"RANK": str(rank), "LOCAL_RANK": str(local), PARENT: str(os.getpid())}
    return subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]], env=environ, stdin=subprocess.DEVNULL
    )


def find_free_port() -> int:
    """Find a free port on this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class _Watch(threading.Thread):
    """Watches the processes that this one started.

    Args:
        others: processes by rank.
    """

    def __init__(self, others: Mapping[int, subprocess.Popen[bytes]]) -> None:
        super().__init__(daemon=True)
        self.others, self.over = others, threading.Event()

    def run(self) -> None:
        """End this process if another failed and this one hangs in a collective operation."""
        while not self.over.wait(0.5):
            if (lost := self.lost()) and not self.over.wait(GRACE):
                print(f"error: {lost}", file=sys.stderr, flush=True)  # noqa: T201
                self._kill()
                os._exit(1)

    def lost(self, seconds: float = 0.0) -> str:
        """Return a message about the first process that failed, or fails within some seconds; empty
        if none does.
        """
        deadline = time.monotonic() + seconds
        while (
            not any(process.poll() for process in self.others.values())
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
        for rank, process in self.others.items():
            if code := process.poll():
                how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
                return (
                    f"the process of rank {rank} {how}, so all were ended; see its messages above. "
                    "Run it again to resume from the last checkpoint"
                )
        return ""

    def wait(self) -> None:
        """Wait for the others to end; their work is done, so their exit codes do not matter."""
        deadline = time.monotonic() + FAREWELL
        for rank, process in self.others.items():
            try:
                code = process.wait(max(0.0, deadline - time.monotonic()))
                if code:
                    log.warning(
                        "training is done, but the process of rank %d exited with code %d",
                        rank,
                        code,
                    )
            except subprocess.TimeoutExpired:
                log.warning(
                    "training is done, but the process of rank %d does not exit; stopping it", rank
                )

    def end(self) -> None:
        """End all other processes."""
        self.over.set()
        for process in self.others.values():
            process.terminate()
        deadline = time.monotonic() + 5.0
        for process in self.others.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
        self._kill()

    def _kill(self) -> None:
        for process in self.others.values():
            if process.poll() is None:
                process.kill()
                process.wait()
