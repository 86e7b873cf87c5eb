import subprocess
import sys

import psutil
import pytest

from captionseg.tracking import reproduction
from captionseg.tracking.reproduction import PARENT
from captionseg.tracking.stage_run import open_stage_run
from captionseg.tracking.store import OWNER, PARAM_LENGTH, Store
from captionseg.tracking.values import KEY_LENGTH, clean


@pytest.fixture
def store(root, monkeypatch):
    monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", "0123456789")
    return Store(root, 5.0)


@pytest.fixture
def dead():
    """The identity of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    owner = reproduction.identify_process(psutil.Process(child.pid))
    child.communicate("\n")
    return owner


def status(store, run):
    return store.client.get_run(run).info.status


def test_stages_and_recipes_are_children_of_one_parent(store):
    index = open_stage_run(store, "index", None, {"seed": 1})
    nouns = open_stage_run(store, "pretrain", "nouns-mil", {"seed": 1})
    cocu = open_stage_run(store, "pretrain", "cocu-mil", {"seed": 1})
    parent = store.client.get_run(index.parent)
    assert parent.info.run_name == "flow 01234567"
    assert parent.data.params == {"seed": "1"}
    names = {run.info.run_name: run for run in store.runs(f"tags.`{PARENT}` = '{index.parent}'")}
    assert set(names) == {"index", "pretrain/nouns-mil", "pretrain/cocu-mil"}
    assert nouns.parent == cocu.parent == index.parent
    assert names["pretrain/cocu-mil"].data.tags["recipe"] == "cocu-mil"
    assert "recipe" not in names["index"].data.tags


def test_another_reproduction_has_another_parent(store, monkeypatch):
    first = open_stage_run(store, "index", None, {})
    monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", "another")
    assert open_stage_run(store, "index", None, {}).parent != first.parent


def test_a_stage_that_stands_alone_has_no_parent_and_keeps_its_reports(store, monkeypatch):
    monkeypatch.delenv("CAPTIONSEG_FLOW_RUN")
    monkeypatch.setattr(reproduction, "_is_dvc", lambda process: False)
    run = open_stage_run(store, "report", None, {})
    run.summary({"recipes.a.miou": 40.0}, [])
    run.finish()
    run.close("FINISHED", "")
    assert run.parent is None
    assert store.client.get_run(run.run).data.metrics == {"recipes.a.miou": 40.0}
    assert len(store.runs("")) == 1


def test_metrics_over_steps_are_kept_beyond_one_batch(store):
    run = open_stage_run(store, "pretrain", "cocu-mil", {})
    for step in range(1500):
        run.metrics({"loss": 1.0 / (step + 1), "rate": 0.1}, step, 1000 + step)
    run.finish()
    history = store.client.get_metric_history(run.run, "loss")
    assert sorted((m.step, m.value, m.timestamp) for m in history) == [
        (s, 1.0 / (s + 1), 1000 + s) for s in range(1500)
    ]


def test_params_are_clipped_and_named_as_mlflow_allows(store):
    run = open_stage_run(store, "curate", None, {})
    run.params(
        {
            "a" * 300: 1,
            "p@th": "x" * 7000,
            "list": [1, 2],
            "none": None,
            **{f"n{i}": i for i in range(120)},
        }
    )
    params = store.client.get_run(run.run).data.params
    assert len(params) == 124
    assert params["a" * KEY_LENGTH] == "1"
    assert params["p_th"] == "x" * PARAM_LENGTH
    assert (params["list"], params["none"]) == ("[1, 2]", "null")


def test_clean_keeps_the_end_of_a_long_name():
    assert clean("section." * 40 + "loss").endswith(".loss")
    assert clean("IoU (sky)") == "IoU _sky_"


def test_files_go_under_their_folder_and_folders_under_their_name(store, tmp_path):
    (tmp_path / "pages" / "in").mkdir(parents=True)
    (tmp_path / "pages" / "in" / "a.html").write_text("a")
    (tmp_path / "curve.png").write_bytes(b"png")
    run = open_stage_run(store, "report", None, {})
    run.artifact(str(tmp_path / "curve.png"), "plots")
    run.artifact(str(tmp_path / "pages"), "")
    assert [f.path for f in store.client.list_artifacts(run.run, "plots")] == ["plots/curve.png"]
    assert [f.path for f in store.client.list_artifacts(run.run, "pages/in")] == ["pages/in/a.html"]


def test_artifacts_lie_in_the_repository_also_from_a_temporary_experiment(store, root):
    copy = root / ".dvc" / "tmp" / "exps" / "t"
    copy.mkdir(parents=True)
    run = open_stage_run(Store(copy, 5.0), "index", None, {})
    assert store.client.get_run(run.run).info.artifact_uri.startswith((root / "mlruns").as_uri())


@pytest.mark.parametrize("end", ["FINISHED", "FAILED", "KILLED"])
def test_a_parent_ends_as_its_stages_do(store, end):
    index, pretrain = (
        open_stage_run(store, "index", None, {}),
        open_stage_run(store, "pretrain", "cocu-mil", {}),
    )
    index.close("FINISHED", "")
    assert status(store, index.parent) == "RUNNING", "one of its stages runs"
    pretrain.close(end, "")
    assert status(store, index.parent) == end


def test_a_retry_that_ends_well_mends_the_parent(store):
    open_stage_run(store, "index", None, {}).close("FAILED", "OSError: gone")
    again = open_stage_run(store, "index", None, {})
    assert status(store, again.parent) == "RUNNING"
    again.close("FINISHED", "")
    assert status(store, again.parent) == "FINISHED"


def test_reports_of_a_stage_that_did_not_finish_are_not_copied(store, tmp_path):
    page = tmp_path / "index.html"
    page.write_text("x")
    for end in ("KILLED", "FINISHED"):
        run = open_stage_run(store, "report", None, {})
        run.summary({"recipes.cocu-mil.photo_scenes.miou": 36.0}, [str(page)])
        if end == "FINISHED":
            run.finish()
        run.close(end, "")
        copied = (
            store.client.get_run(run.parent).data.metrics,
            store.client.list_artifacts(run.parent),
        )
        if end == "KILLED":
            assert copied == ({}, [])
    assert copied[0] == {"recipes.cocu-mil.photo_scenes.miou": 36.0}
    assert [f.path for f in copied[1]] == ["index.html"]


def test_runs_of_dead_processes_are_reaped_when_the_next_stage_starts(store, dead):
    lost, lives = (
        open_stage_run(store, "pretrain", "cocu-mil", {}),
        open_stage_run(store, "index", None, {}),
    )
    store.client.set_tag(lost.run, OWNER, dead)
    after = open_stage_run(store, "evaluate", None, {})
    assert status(store, lost.run) == "KILLED"
    assert status(store, lives.run) == status(store, after.run) == "RUNNING"
    lives.close("FINISHED", "")
    after.close("FINISHED", "")
    assert status(store, lost.parent) == "KILLED", "one of its stages was lost"


def test_a_parent_that_lost_its_only_process_before_a_stage_began_is_reaped(store, dead):
    parent = store.client.create_run(
        store.experiment, tags={OWNER: dead, "role": "reproduction", "reproduction": "flow-x"}
    ).info.run_id
    store.reap()
    assert status(store, parent) == "KILLED"
