"""A real store in a folder of its own, with the schema made once: MLflow needs two seconds for that."""

import os
import shutil

import pytest

from captionseg import tracking

os.environ.update(tracking.ENVIRONMENT)  # before MLflow is imported


@pytest.fixture(scope="session")
def schema(tmp_path_factory):
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(schema, tmp_path, monkeypatch):
    """A root with an empty store; tracking is on, in an environment that names no reproduction."""
    shutil.copy(schema, tmp_path / "mlflow.db")
    for name in ("CAPTIONSEG_TRACKING", "CAPTIONSEG_FLOW_RUN", "DVC_EXP_NAME", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
