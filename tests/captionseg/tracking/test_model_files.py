"""The files of a registered model are found by its alias, and one line says why not."""

from __future__ import annotations

import os
import warnings

import pytest

from captionseg.records import UserError
from captionseg.tracking.model_files import download

ADDRESS = "models:/captionseg@champion"


@pytest.fixture
def registered(root, tmp_path):
    """A registered model as logged_models.log_model leaves one, without a run."""
    from mlflow.tracking import MlflowClient

    made = tmp_path / "made"
    (made / "data" / "m").mkdir(parents=True)
    (made / "data" / "m" / "config.json").write_text("{}")
    (made / "MLmodel").write_text("flavors: {python_function: {data: data/m}}")
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}", f"sqlite:///{root / 'mlflow.db'}")
    client.create_registered_model("captionseg")
    client.create_model_version("captionseg", made.as_uri())
    client.set_registered_model_alias("captionseg", "champion", "1")
    return root


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():  # MLflow, of its own code
        warnings.simplefilter("ignore")
        yield


def test_the_champion_s_files(registered):
    folder = download(ADDRESS, registered)
    assert (folder.name, [p.name for p in folder.iterdir()]) == ("m", ["config.json"])
    assert registered not in folder.parents  # a copy


def test_what_the_process_has_set_for_mlflow_stays(registered, monkeypatch):
    import mlflow

    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    download(ADDRESS, registered)
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == before
    assert "MLFLOW_REGISTRY_URI" not in os.environ


def test_what_is_no_model_is_one_line(registered):
    with pytest.raises(UserError, match=r"^models:/other@champion: MLflow has no such model"):
        download("models:/other@champion", registered)
    (registered / "made" / "MLmodel").write_text("flavors: {}")
    with pytest.raises(UserError, match=r"^models:.*: not a model of captionseg"):
        download(ADDRESS, registered)


def test_without_a_store_none_is_made(root):
    (root / "mlflow.db").unlink()
    with pytest.raises(UserError, match=r"there is no .*mlflow\.db; set MLFLOW_TRACKING_URI"):
        download(ADDRESS, root)
    assert not (root / "mlflow.db").exists()
