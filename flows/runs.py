"""Finds active runs by their processes on this machine and by their state in Prefect's database.

A run whose process died cannot update its state: it would stay Running and occupy its slot in the
work pool forever. Uses Prefect's REST API, because importing prefect takes seconds.
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

RUN = "PREFECT__FLOW_RUN_ID"  # set by Prefect in all processes of a run
ACTIVE = ("RUNNING", "PENDING", "CANCELLING")  # states that occupy a slot in a work pool
WORKER = "prefect.worker.name"  # label of a run
GRACE = 20.0  # seconds that a run has to end its stage (flows.process.GRACE) and report it
TAKING = 60.0  # seconds between a run's state Pending and its label


@dataclass(frozen=True)
class Workers:
    """The workers of this checkout.

    Args:
        identity: identity of this checkout; its workers are named `HOST NAME IDENTITY`, and the
            host's name may change.
        alive: names of the running workers.
        alone: whether other machines cannot reach the server, so that they have no workers.
    """

    identity: str
    alive: Collection[str]
    alone: bool

    def lost(self, run: Mapping[str, Any]) -> bool:
        """Return whether an active run without a process here belongs to no worker."""
        if not run.get("work_pool_name"):
            return False  # started by hand
        name = str((run.get("labels") or {}).get(WORKER, ""))
        if name.endswith(f" {self.identity}"):
            return name.split()[-2] not in self.alive
        if name:  # of another machine, or from before workers had an identity
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
    """A client of Prefect's server.

    Args:
        url: address of its API.
        environ: environment with the password, if the server needs one.
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
        """Send a POST request and return the answer.

        Raises:
            httpx.HTTPError: there is no answer, or it is an error.
        """
        with httpx.Client(timeout=30, trust_env=False, auth=self.auth) as client:
            return client.post(f"{self.url}/{path}", json=body).raise_for_status().json()

    def active(self) -> list[dict[str, Any]]:
        """Return all runs that occupy a slot in a work pool."""
        active: list[dict[str, Any]] = []
        where = {"state": {"type": {"any_": list(ACTIVE)}}}
        while page := self.ask(
            "flow_runs/filter",
            {"flow_runs": where, "sort": "ID_DESC", "limit": 200, "offset": len(active)},
        ):
            active += page
        return active

    def crash(self, run: str, why: str) -> None:
        """Set a run to Crashed, whatever its state."""
        state = {"type": "CRASHED", "name": "Crashed", "message": why}
        self.ask(f"flow_runs/{run}/set_state", {"state": state, "force": True})


def list_processes(folder: Path) -> dict[str, list[psutil.Process]]:
    """Return the processes of runs started by workers of `folder`, by the run's id."""
    processes: dict[str, list[psutil.Process]] = {}
    for _, process in daemons.list_marked(folder):
        with contextlib.suppress(psutil.Error, OSError):
            if run := process.environ().get(RUN):
                processes.setdefault(run, []).append(process)
    return processes


def end(folder: Path, grace: float = GRACE) -> int:
    """End the processes of all runs and return their number; they still report to the server."""
    return daemons.end(
        lambda: [one for those in list_processes(folder).values() for one in those], grace
    )


def heal(api: Api, folder: Path, workers: Workers) -> list[str]:
    """Set lost runs to Crashed; return a line for each.

    Raises:
        httpx.HTTPError: the server does not answer.
    """
    notes = []
    for run in api.active():  # queried first, so that runs that start now are not included
        if run["id"] not in list_processes(folder) and workers.lost(run):
            state = run["state"]["name"]
            api.crash(run["id"], f"It was {state}, but its process or its worker was gone.")
            notes.append(f"run {run['name']} was {state}, but its process is gone: set to Crashed")
    return notes
