"""The files of a model that MLflow has, by its address: models:/captionseg@champion."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captionseg.records import UserError, one_line
from captionseg.runtime.start_up import collect_nothing
from captionseg.tracking.environment import ENVIRONMENT
from captionseg.tracking.reproduction import find_database, store_uri

QUIET = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR")
"""Variables that MLflow is asked to respect here; the process is somebody else's."""


def download(address: str, root: Path | None = None) -> Path:
    """Return a folder with the files of a model, as models/RECIPE has them.

    It lasts as long as this process.

    Args:
        address: of the model, such as models:/captionseg@champion or runs:/RUN/model.
        root: of the repository whose store is asked, unless MLFLOW_TRACKING_URI names another; None
            takes the current folder.

    Raises:
        UserError: if there is no such model, or it is none of captionseg.
    """
    store = store_uri(root or Path())
    if (database := find_database(store)) and not database.exists():
        raise UserError(
            f"{address}: there is no {database}; set MLFLOW_TRACKING_URI, or name a folder"
        )
    for name in QUIET:
        os.environ.setdefault(name, ENVIRONMENT[name])
    with collect_nothing():
        import mlflow
        import yaml
        from mlflow.exceptions import MlflowException

    try:
        with use_store(store):
            folder = Path(
                mlflow.artifacts.download_artifacts(address, dst_path=str(_make_folder()))
            )
    except (MlflowException, OSError, ValueError) as error:
        raise UserError(f"{address}: MLflow has no such model ({one_line(error)})") from None
    try:
        described: Any = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        data = folder / described["flavors"]["python_function"]["data"]
        json.loads((data / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"{address}: not a model of captionseg ({one_line(error)})") from None
    return data


@contextlib.contextmanager
def use_store(store: str) -> Iterator[None]:
    """Inside, MLflow asks this store; outside it goes on with what the process has set, which may
    not be ours. (mlflow.set_tracking_uri would stay.)
    """
    before = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    os.environ.update(dict.fromkeys(before, store))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@functools.cache
def _keep() -> list[tempfile.TemporaryDirectory[str]]:
    return []


def _make_folder() -> Path:
    """Make a folder that is removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="captionseg-")
    _keep().append(folder)
    return Path(folder.name)
