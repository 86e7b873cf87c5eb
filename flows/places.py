"""The addresses of this checkout's services, and the environment of services and their runs."""

from __future__ import annotations

import dataclasses
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from flows import without_proxy
from flows.daemons import Daemon

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".services"
QUIET = {
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # otherwise seven more processes for jobs that are not used here
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "DVC_NO_ANALYTICS": "1",
}


ELSEWHERE = (
    *(
        "PREFECT_PROFILE",
        "PREFECT_PROFILES_PATH",
        "PREFECT_API_URL",
        "PREFECT_API_KEY",
        "PREFECT_CLOUD_API_URL",
    ),
    *("PREFECT_TEST_MODE", "PREFECT_LOCAL_STORAGE_PATH", "PREFECT_LOGGING_SETTINGS_PATH"),
    *(
        "MLFLOW_TRACKING_URI",
        "MLFLOW_REGISTRY_URI",
        "MLFLOW_RUN_ID",
        "MLFLOW_EXPERIMENT_ID",
        "MLFLOW_EXPERIMENT_NAME",
    ),
)


@dataclass(frozen=True)
class Places:
    """The addresses of the services."""

    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000

    def follow_daemons(self, daemons: Mapping[str, Daemon]) -> Places:
        """Return these addresses, replaced by those of running servers."""
        urls = {name: httpx.URL(daemon.url) for name, daemon in daemons.items() if daemon.url}
        ports = {f"{name}_port": url.port for name, url in urls.items()}
        host = next((url.host for url in urls.values()), self.host)  # one for both
        return dataclasses.replace(self, **ports, host=host)

    @property
    def prefect(self) -> str:
        return f"http://{self.host}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        return f"http://{self.host}:{self.mlflow_port}"


def build_environment(places: Places, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of services and of the runs of workers.

    Removes the user's client settings of Prefect and MLflow, which could point to another server or
    run. Server settings (databases, passwords) stay.
    """
    environ = {name: value for name, value in environ.items() if name not in ELSEWHERE}
    ours = {
        "PREFECT_API_URL": f"{places.prefect}/api",
        "PREFECT_HOME": str(FOLDER / "prefect"),
        "MLFLOW_TRACKING_URI": places.mlflow,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), environ.get("PYTHONPATH")])),
    }
    return {**QUIET, **environ, **ours, **without_proxy(environ, places.host)}


def read_identity(folder: Path) -> str:
    """Return the identity in the names of this checkout's workers, on any host; it is stored next
    to Prefect's database.
    """
    path = folder / "identity"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        path.write_text(f"{secrets.token_hex(3)}\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()
