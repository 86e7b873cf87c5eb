"""Runs under way, by their processes on this machine and by what Prefect's database says of them.

A run whose process is gone says nothing any more: its state would stay Running, and it would keep
its place in its work pool for ever. No import of prefect, which takes seconds: a few calls of its
REST API.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows import daemons

RUN = "PREFECT__FLOW_RUN_ID"  # set by Prefect, of all processes of a run
ACTIVE = ("RUNNING", "PENDING", "CANCELLING")  # states that hold a place in a work pool
WORKER = "prefect.worker.name"  # label of a run
GRACE = 20.0  # seconds that a run has to end its stage (flows.process.GRACE) and to say so
TAKING = 60.0  # seconds that a worker may take from a run's state Pending to its label


@dataclass(frozen=True)
class Workers:
    """Whose runs these are.

    Args:
        identity: of this checkout; its workers are called `HOST NAME IDENTITY`, and a host's name
            changes.
        alive: names of those that work.
        alone: whether no other machine reaches the server, so that other machines have no workers.
    """

    identity: str
    alive: Collection[str]
    alone: bool

    def lost(self, run: Mapping[str, Any]) -> bool:
        """Whether nobody has a run that is under way and has no process here."""
        if not run.get("work_pool_name"):
            return False  # by hand, in somebody's shell
        name = str((run.get("labels") or {}).get(WORKER, ""))
        if name.endswith(f" {self.identity}"):
            return name.split()[-2] not in self.alive
        if name:  # another machine's, or of this one before workers had an identity
            return bool(
                re.fullmatch(
                    rf"{re.escape(socket.gethostname())} (worker-cpu|worker-gpu|gpu \d+)", name
                )
            )
        since = datetime.fromisoformat(run["state"]["timestamp"].replace("Z", "+00:00"))
        return (self.alone and not self.alive) or (
            datetime.now(UTC) - since
        ).total_seconds() > TAKING


class Api:
    """Prefect's server.

    Args:
        url: of its API.
        environ: of which the password is taken, where the server asks for one.
    """

    def __init__(self, url: str, environ: Mapping[str, str] = os.environ) -> None:
        words = (
            environ.get("PREFECT_API_AUTH_STRING")
            or environ.get("PREFECT_SERVER_API_AUTH_STRING")
            or ""
        )
        user, _, password = words.partition(":")
        self.url, self.auth = url.rstrip("/"), (user, password) if words else None

    def ask(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a POST.

        Raises:
            httpx.HTTPError: there is none, or it is no.
        """
        with httpx.Client(timeout=30, trust_env=False, auth=self.auth) as client:
            return client.post(f"{self.url}/{path}", json=body).raise_for_status().json()

    def active(self) -> list[dict[str, Any]]:
        """All runs that hold a place in a pool."""
        active: list[dict[str, Any]] = []
        where = {"state": {"type": {"any_": list(ACTIVE)}}}
        while page := self.ask(
            "flow_runs/filter",
            {"flow_runs": where, "sort": "ID_DESC", "limit": 200, "offset": len(active)},
        ):
            active += page
        return active

    def crash(self, run: str, why: str) -> None:
        """Set a run to Crashed, whatever it was."""
        state = {"type": "CRASHED", "name": "Crashed", "message": why}
        self.ask(f"flow_runs/{run}/set_state", {"state": state, "force": True})


def list_processes(folder: Path) -> dict[str, list[psutil.Process]]:
    """Processes of each run that workers of `folder` started, by the run's id."""
    processes: dict[str, list[psutil.Process]] = {}
    for _, process in daemons.list_marked(folder):
        with contextlib.suppress(psutil.Error, OSError):
            if run := process.environ().get(RUN):
                processes.setdefault(run, []).append(process)
    return processes


def end(folder: Path, grace: float = GRACE) -> int:
    """End the processes of all runs; how many there were. Prefect's server still hears why."""
    return daemons.end(
        lambda: [one for those in list_processes(folder).values() for one in those], grace
    )


def heal(api: Api, folder: Path, workers: Workers) -> list[str]:
    """Set runs that nobody has any more to Crashed; a line for each.

    Raises:
        httpx.HTTPError: the server does not answer.
    """
    notes = []
    for run in api.active():  # asked first: a run that starts now is not among these
        if run["id"] not in list_processes(folder) and workers.lost(run):
            state = run["state"]["name"]
            api.crash(run["id"], f"It was {state}, and its process or its worker was gone.")
            notes.append(f"run {run['name']} was {state} and has no process any more: Crashed")
    return notes
