"""A real store in a folder of its own, with the schema made once: MLflow needs two seconds for
that.
"""

import itertools
import os
import shutil
import warnings

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.tracking import logged_models
from captionseg.tracking.environment import ENVIRONMENT

os.environ.update(ENVIRONMENT)  # before MLflow is imported


@pytest.fixture(scope="session")
def schema(tmp_path_factory):
    from mlflow.tracking import MlflowClient

    with warnings.catch_warnings():  # MLflow, of its own code
        warnings.simplefilter("ignore")
        import mlflow.pyfunc  # noqa: F401

    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
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
        "DVC_STAGE",
    ):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def left(root):
    """What the stages before `report` leave, in small; -> arguments of `StageRun.recipes` (a fresh
    copy each time).
    """

    def left(scores, *, passed=1, weights=None, truth=50):
        """scores: recipe -> (tune mIoU, test mIoU); weights: recipe -> bytes, its name by
        default."""
        pairs = {
            "uid": ["u1", "u2"],
            "sha256": ["a", "b"],
            "split": ["train", "test"],
            "status": ["success"] * 2,
        }
        (root / "pairs").mkdir(exist_ok=True)
        pq.write_table(pa.table(pairs), root / "pairs" / "00000.parquet")
        for number, name in enumerate(scores):
            model = root / "models" / name
            for seed in (0, 1):
                curve = "seed,step,name,value\n" + "".join(
                    f"{seed},{s},loss,{2 * seed + s}\n" for s in range(3)
                )
                (model / "seeds" / str(seed)).mkdir(parents=True, exist_ok=True)
                (model / "seeds" / str(seed) / "curve.csv").write_text(curve)
            (model / "model.safetensors").write_bytes((weights or {}).get(name, name.encode()))
            areas = {
                "uid": ["u2"] * 3,
                "seed": [0, 0, 1],
                "class": [0, 1 + number, 0],
                "intersection": [1, 0, 2],
                "predicted": [9, 1, 3],
                "true": [truth, 0, truth],
            }
            (root / "areas").mkdir(exist_ok=True)
            pq.write_table(pa.table(areas), root / "areas" / f"{name}.parquet")
            (root / "pictures").mkdir(exist_ok=True)
            (root / "pictures" / f"scene_1_{name}.jpg").write_bytes(name.encode())
        measured = {
            name: {
                "train": {"tune_miou": tune, "loss": 1.0},
                "shapes": {"miou": miou},
                "shapes@tcl": {"miou": 1.0},
            }
            for name, (tune, miou) in scores.items()
        }
        labels = {name: {"recipe": name, "model": "segment_mil"} for name in scores}
        folders = {name: str(root / name) for name in ("models", "areas", "pairs", "pictures")}
        return {
            "numbers": {"recipes": measured, "gate": {"passed": passed}},
            "labels": labels,
            "benchmark": "shapes",
            **folders,
        }

    return left


@pytest.fixture
def reproduce(root, left, monkeypatch):
    """The stage `report` of a new reproduction ends well, or as it is told; -> its run.

    Models are logged with an empty library: hundreds of files each otherwise.
    """
    count = itertools.count(1)
    (root / "empty" / "captionseg").mkdir(parents=True)
    (root / "empty" / "captionseg" / "__init__.py").touch()
    monkeypatch.setattr(logged_models, "LIBRARY", root / "empty" / "captionseg")

    def reproduce(scores, *, end="FINISHED", params=None, **how):
        from captionseg.tracking.stage_run import open_stage_run
        from captionseg.tracking.store import Store

        monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", f"r{next(count)}")
        run = open_stage_run(Store(root, 5.0), "report", None, params or {})
        run.recipes(**left(scores, **how))
        if end == "FINISHED":
            run.finish()
        run.close(end, "")
        return run

    return reproduce
