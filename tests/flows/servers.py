"""A checkout with real servers and workers, for test_servers.py."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import yaml

from tests.soak.checkout import commit

RECIPE = "nouns-mil"
FOREIGN = ("PREFECT_", "MLFLOW_", "DVC_", "GIT_", "CAPTIONSEG_")


def until(what: Callable[[], Any], why: str, seconds: float = 900) -> Any:
    """What `what` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"after {seconds} s not yet: {why}"
        time.sleep(0.5)  # each look costs the server time
    return found


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def sh(command: str, cwd: Path, **env: str) -> str:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    environ |= {
        "DVC_NO_ANALYTICS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        command, shell=True, cwd=cwd, env=environ | env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


class Services:
    """Servers and workers of a checkout, and what a user does with them."""

    def __init__(self, checkout: Path, site: Path) -> None:
        from prefect.client.orchestration import SyncPrefectClient

        self.checkout, self.folder = checkout, checkout / ".services"
        self.prefect_port, self.mlflow_port = ports(2)
        self.env = {
            "PYTHONPATH": str(checkout),
            "OMP_NUM_THREADS": "1",
            "DVC_SITE_CACHE_DIR": str(site),
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "CAPTIONSEG_TRACKING": "off",
        }
        self.said = self("start")
        self.client = SyncPrefectClient(f"http://127.0.0.1:{self.prefect_port}/api")

    def __call__(self, command: str) -> str:
        where = f"--prefect-port {self.prefect_port} --mlflow-port {self.mlflow_port}"
        return sh(
            f"{sys.executable} -m flows.services {command} {where}", self.checkout, **self.env
        )

    def submit(self, deployment: str, **parameters: Any) -> UUID:
        found = self.client.read_deployment_by_name(f"reproduce/{deployment}")
        return self.client.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def ended(self, run: UUID) -> Any:
        """The run, when it has ended."""

        def look() -> Any:
            found = self.client.read_flow_run(run)
            return found if found.state and found.state.is_final() else None

        return until(look, f"run {run} ends; {self.log(run)[-5:]}")

    def log(self, run: UUID) -> list[str]:
        from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

        return [
            line.message
            for line in self.client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))
        ]

    def artifacts(self, run: UUID) -> dict[str, str]:
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        of = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        return {
            artifact.key: artifact.data
            for artifact in self.client.read_artifacts(artifact_filter=of)
        }


def checkout(finished: Path, folder: Path) -> Path:
    """A repository in which all stages have run, set to one recipe, which is to be trained anew."""
    shutil.copytree(finished, folder, symlinks=True)
    (folder / "sitecustomize.py").unlink()  # the guard of that run
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["pretrain"]["epochs"] = 1
    params |= {"recipes": {RECIPE: params["recipes"][RECIPE]}, "about": {}, "gate": {}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    commit(folder)
    return folder


def runs_of(services: Services, deployment: UUID) -> list[Any]:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    return services.client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
    )
