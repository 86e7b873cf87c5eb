"""A real store in a folder of its own, with the schema made once: MLflow needs two seconds for that."""

import shutil
import subprocess
import sys

import pytest

from captionseg import tracking


@pytest.fixture(scope="session")
def schema(tmp_path_factory):
    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    program = (
        f"from mlflow.tracking import MlflowClient; MlflowClient('sqlite:///{path}').search_experiments()"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, capture_output=True)
    return path


@pytest.fixture
def root(schema, tmp_path, monkeypatch):
    """A root with an empty store; tracking is on, in an environment that names no reproduction."""
    shutil.copy(schema, tmp_path / "mlflow.db")
    for name in (
        "CAPTIONSEG_TRACKING",
        "CAPTIONSEG_FLOW_RUN",
        "DVC_EXP_NAME",
        "MLFLOW_TRACKING_URI",
        "MLFLOW_RUN_ID",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in tracking.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return tmp_path
