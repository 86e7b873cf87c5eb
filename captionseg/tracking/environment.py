"""The environment of processes that use MLflow, and the switch that turns tracking off."""

from __future__ import annotations

import os
from collections.abc import Mapping

EXPERIMENT = "captionseg"
PATIENCE = 10.0  # seconds that the writer waits for a locked store before it gives up

# Only for the writer: no telemetry, one line of log instead of many, dead servers detected soon.
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
# Overrides the shell: asynchronous writes are lost when the writer exits; locking uses the network.
FORCED = {"MLFLOW_ENABLE_ASYNC_LOGGING": "false", "MLFLOW_LOCK_MODEL_DEPENDENCIES": "false"}
# Set by other projects. With MLFLOW_RUN_ID every start would resume that run (mlflow#15713).
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
    """Return the environment of a process that uses MLflow."""
    return {**ENVIRONMENT, **{k: v for k, v in environ.items() if k not in OTHERS}, **FORCED}


def adopt() -> None:
    """Set this environment in the current process; call it before importing MLflow."""
    variables = build_environment(os.environ)
    os.environ.clear()
    os.environ.update(variables)


def is_off(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether tracking is turned off."""
    return environ.get("CAPTIONSEG_TRACKING", "").strip().lower() in OFF
