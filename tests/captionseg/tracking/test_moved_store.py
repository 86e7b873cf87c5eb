"""A checkout is moved, renamed or copied, or the shell is another: runs, files and the champion are
found.
"""

import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from captionseg.tracking import moved_store, reproduction
from captionseg.tracking.registry import NAME
from captionseg.tracking.stage_run import open_stage_run
from captionseg.tracking.store import OWNER, SILENCE, Store

REPOSITORY = Path(__file__).parents[3]


def addresses(root):
    """All that the database says of where files are."""
    with sqlite3.connect(root / "mlflow.db") as database:
        found = [
            database.execute(f"SELECT {column} FROM {table}").fetchall()
            for table, column in moved_store.COLUMNS
        ]
    database.close()
    return {row[0] for rows in found for row in rows if row[0]}


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_files_are_found_where_the_checkout_is(reproduce, root, tmp_path_factory, how):
    stage = reproduce({"a": (30.0, 10.0)})
    before = stage.store.client.get_model_version_by_alias(NAME, "champion")
    other = tmp_path_factory.mktemp("other") / "renamed (copy) #2 100% é"
    (shutil.move if how == "moved" else shutil.copytree)(root, other)
    store = Store(other, 5.0)
    ours = (other / "mlruns").as_uri()
    experiment = store.client.get_experiment(store.experiment)
    assert experiment.artifact_location == ours
    for run in store.runs(""):
        assert run.info.artifact_uri.startswith(f"{ours}/")
    version = store.client.get_model_version_by_alias(NAME, "champion")
    assert version.source != before.source
    files = Path(url2pathname(urlsplit(version.source).path))
    assert other in files.parents
    assert (files / "data" / "a" / "model.safetensors").read_bytes() == b"a"
    assert store.client.get_logged_model(version.tags["model"]).artifact_location == version.source
    (run,) = store.recipes(stage.about.tags["reproduction"])
    assert [file.path for file in store.client.list_artifacts(run.info.run_id, "pictures")] == [
        "pictures/scene_1.jpg"
    ]
    (other / "note.txt").write_text("new")
    open_stage_run(store, "index", None, {}).artifact(str(other / "note.txt"), "")
    assert list(other.glob("mlruns/**/note.txt"))
    if how == "copied":
        assert not list(root.glob("mlruns/**/note.txt")), "the original is left alone"
        assert not [name for name in addresses(root) if "other" in name]
    else:
        assert not root.exists()
    assert not [name for name in addresses(other) if root.as_uri() in name]
    assert moved_store.follow(other / "mlflow.db") == "", "once"


def test_a_database_elsewhere_keeps_its_addresses(reproduce, root, tmp_path_factory, monkeypatch):
    """One that two checkouts share: neither takes the files of the other for its own."""
    shared = tmp_path_factory.mktemp("shared")
    (root / "mlflow.db").rename(shared / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared}/mlflow.db")
    first = Store(root, 5.0)
    at = first.client.get_experiment(first.experiment).artifact_location
    second = Store(tmp_path_factory.mktemp("second"), 5.0)
    assert (
        second.client.get_experiment(second.experiment).artifact_location
        == at
        == (shared / "mlruns").as_uri()
    )


def test_a_relative_database_is_one_of_the_repository(tmp_path):
    environ = {"MLFLOW_TRACKING_URI": "sqlite:///runs/mlflow.db?timeout=9"}
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "t"
    copy.mkdir(parents=True)
    uri = reproduction.store_uri(copy, environ)
    assert uri == f"sqlite:///{tmp_path.resolve()}/runs/mlflow.db?timeout=9"
    assert reproduction.find_database(uri) == tmp_path.resolve() / "runs" / "mlflow.db"
    assert reproduction.find_database("http://127.0.0.1:5000") is None
    assert (
        reproduction.store_uri(tmp_path, {"MLFLOW_TRACKING_URI": " "})
        == f"sqlite:///{tmp_path.resolve()}/mlflow.db"
    )


def test_a_folder_that_no_uri_can_name_is_refused_in_words(tmp_path):
    (tmp_path / "why?").mkdir()
    with pytest.raises(
        ValueError,
        match=r"why\?: MLflow cannot use a database in a folder with a `\?` in its name; rename",
    ):
        reproduction.store_uri(tmp_path / "why?", {})


STAGE = """
import sys
import time
from pathlib import Path
from captionseg.tracking.tracker import start
with start("index", None, root=Path(sys.argv[1])) as tracker:
    tracker.params({"a": 1})
    tracker.tags({"b": "c"})
    for step in range(50):
        tracker.metrics({"loss": step}, step=step)
"""


def test_what_a_shell_holds_for_another_project_changes_nothing(
    root, tmp_path_factory, monkeypatch
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    others = {
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
        "MLFLOW_EXPERIMENT_ID": "77",
        "MLFLOW_EXPERIMENT_NAME": "theirs",
        "MLFLOW_REGISTRY_URI": f"sqlite:///{elsewhere}/theirs.db",
        "MLFLOW_RUN_ID": "0" * 32,
        "MLFLOW_ACTIVE_MODEL_ID": "m-0",
        "GIT_DIR": str(elsewhere),
        "PYTHONPATH": str(REPOSITORY),
    }
    for name, value in others.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        [sys.executable, "-c", STAGE, str(root)],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = Store(root, 5.0).runs("")
    assert (run.info.status, run.data.params, run.data.tags["b"]) == ("FINISHED", {"a": "1"}, "c")
    history = Store(root, 5.0).client.get_metric_history(run.info.run_id, "loss")
    assert sorted(metric.step for metric in history) == list(range(50))
    assert not list(elsewhere.iterdir())


def test_a_run_of_a_machine_that_has_another_name_now_does_not_stay_running(root, monkeypatch):
    """Nobody can ask for its process; it is taken for dead when it has been silent for long."""
    monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", "x")
    store = Store(root, 5.0)
    lost, silent, speaks = (
        open_stage_run(store, "pretrain", name, {}) for name in ("lost", "silent", "speaks")
    )
    for stage in (lost, silent, speaks):
        store.client.set_tag(stage.run, OWNER, f"old-name:{2**22}:1.0")
    long_ago = round((time.time() - SILENCE - 60) * 1000)
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute(
            "UPDATE runs SET start_time = ? WHERE run_uuid IN (?, ?)",
            (long_ago, silent.run, speaks.run),
        )
    database.close()
    speaks.metrics({"system/cpu_utilization_percentage": 1.0}, 1, long_ago + 120_000)
    speaks.flush()
    store.reap()
    status = {
        stage: store.client.get_run(stage.run).info.status for stage in (lost, silent, speaks)
    }
    assert status == {lost: "RUNNING", silent: "KILLED", speaks: "RUNNING"}, (
        "lost began a moment ago"
    )
