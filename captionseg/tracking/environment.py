"""What a process that talks to MLflow finds in its environment, and whether anybody is told."""

from __future__ import annotations

import os
from collections.abc import Mapping

EXPERIMENT = "captionseg"
PATIENCE = 10.0  # seconds that the writer waits for a locked store before it gives up

# For the writer alone: no telemetry, one line of ours instead of MLflow's many, a dead server found
# out soon.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "OMP_NUM_THREADS": "1",
}
# Whatever the shell says: asynchronous writes are lost when the writer leaves; locks ask a network.
FORCED = {"MLFLOW_ENABLE_ASYNC_LOGGING": "false", "MLFLOW_LOCK_MODEL_DEPENDENCIES": "false"}
# Of a shell's other projects. With MLFLOW_RUN_ID every start goes on with that run (mlflow#15713).
OTHERS = (
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_RUN_CONTEXT",
    "MLFLOW_ACTIVE_MODEL_ID",
    "_MLFLOW_ACTIVE_MODEL_ID",
    "MLFLOW_REGISTRY_URI",
)
OFF = ("off", "0", "false", "no")  # CAPTIONSEG_TRACKING


def build_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a process that talks to MLflow finds in its environment."""
    return {**ENVIRONMENT, **{k: v for k, v in environ.items() if k not in OTHERS}, **FORCED}


def adopt() -> None:
    """Make this process such a one, before it imports MLflow."""
    variables = build_environment(os.environ)
    os.environ.clear()
    os.environ.update(variables)


def is_off(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether nothing is to be recorded."""
    return environ.get("CAPTIONSEG_TRACKING", "").strip().lower() in OFF
