"""Logs models/RECIPE as MLflow models, identified by the digest of their files and logged once per
digest.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from captionseg.tracking import serving

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

DIGEST = "model.md5"
LIBRARY = Path(__file__).parents[1]  # logged with each model, which needs it to run


def hash_folder(folder: Path) -> str:
    """Return the md5 of a folder as in dvc.lock, without `.dir`."""
    rows = []
    for name in sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    ):
        with (folder / name).open("rb") as stream:
            rows.append({"md5": hashlib.file_digest(stream, "md5").hexdigest(), "relpath": name})
    return hashlib.md5(json.dumps(rows).encode()).hexdigest()


def find(client: MlflowClient, experiment: str, md5: str) -> LoggedModel | None:
    """Return the newest logged model whose files have this digest."""
    newest = [{"field_name": "creation_timestamp", "ascending": False}]
    models = client.search_logged_models(
        [experiment], f"tags.`{DIGEST}` = '{md5}'", order_by=newest
    )
    return next((model for model in models if model.status.value == "READY"), None)


def log_model(
    client: MlflowClient, experiment: str, *, run: str, folder: Path, name: str
) -> LoggedModel:
    """Log models/RECIPE as a python_function with its signature, as an output of a run.

    Like mlflow.pyfunc.log_model, but without loading the model to test it, which takes seconds.
    """
    import mlflow.pyfunc
    import numpy as np
    from mlflow.models import Model

    example = (np.zeros((32, 32, 3), np.uint8), {"labels": ["sky", "tree"]})
    logged = client.create_logged_model(
        experiment,
        re.sub(r"[/:.%\"']", "_", name),
        source_run_id=run,
        tags={DIGEST: hash_folder(folder), "recipe": name},
    )
    with tempfile.TemporaryDirectory() as work:
        target = f"{work}/model"
        mlflow.pyfunc.save_model(
            target,
            loader_module=serving.__name__,
            data_path=str(folder),
            signature=build_signature(),
            input_example=example,
            code_paths=[str(LIBRARY)],
            pip_requirements=serving.list_requirements(),
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                run_id=run,
                model_id=logged.model_id,
                model_uuid=logged.model_id,
            ),
        )
        client.log_model_artifacts(logged.model_id, target)
    client.finalize_logged_model(logged.model_id, "READY")
    link(client, run, logged)
    return logged


def build_signature() -> ModelSignature:
    """Return the signature of all models: a picture and labels in, a label per pixel out."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

    return ModelSignature(
        Schema([TensorSpec(np.dtype("uint8"), (-1, -1, 3))]),
        Schema([TensorSpec(np.dtype("int16"), (-1, -1))]),
        # MLflow fills in the default if a request has no labels, so it must be empty.
        ParamSchema([ParamSpec("labels", "string", [], shape=(-1,))]),
    )


def link(client: MlflowClient, run: str, model: LoggedModel) -> None:
    """Link a model to the run that made it; checks first, as the store refuses a second link."""
    from mlflow.entities import LoggedModelOutput

    outputs = client.get_run(run).outputs
    if model.model_id not in [
        output.model_id for output in (outputs.model_outputs if outputs else ())
    ]:
        client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
