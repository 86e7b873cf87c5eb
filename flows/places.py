"""Where the services of this checkout answer, and what they and their runs find in their
environment.
"""

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
    # else seven more processes, for jobs that nobody here has
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
    """Where the services answer."""

    host: str = "127.0.0.1"
    prefect_port: int = 4200
    mlflow_port: int = 5000

    def follow_daemons(self, daemons: Mapping[str, Daemon]) -> Places:
        """These places, but those of servers that run where they are."""
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
    """What services and the runs of workers find in their environment.

    Not the user's own settings of a client of Prefect or MLflow: a profile, another server and its
    key, or a run that goes on would lead elsewhere. Those of a server (databases, passwords) stay.
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
    """What the workers of this checkout have in their names, on whatever host; kept beside
    Prefect's database.
    """
    path = folder / "identity"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        path.write_text(f"{secrets.token_hex(3)}\n")
    return path.read_text().strip()
