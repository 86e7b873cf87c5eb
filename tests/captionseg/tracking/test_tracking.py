import contextlib
import inspect
import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from captionseg.tracking import recipe_runs
from captionseg.tracking import tracker as module
from captionseg.tracking.stage_run import StageRun
from captionseg.tracking.store import PARENT, Store
from captionseg.tracking.tracker import WriterTracker, prepare_writer, start
from captionseg.tracking.values import flatten_numbers
from captionseg.tracking.writer import CALLS

REPOSITORY = Path(__file__).parents[3]


def runs(root) -> dict:
    """name -> run; the parent is named "flow ..."."""
    return {run.info.run_name: run for run in Store(root, 5.0).runs("")}


def run_program(program, root):
    """A stage of another process."""
    text = (
        "import os, time, pathlib\nfrom captionseg.tracking.tracker import start\nroot = "
        f"pathlib.Path({str(root)!r})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", text + program],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(holds, seconds=240.0):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.1)


def executable(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_writer_that_was_prepared_is_taken_once(tmp_path, monkeypatch):
    launched = []

    def launch():
        program = "import sys; print(len(sys.stdin.readlines()), file=sys.stderr)"
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        launched.append(subprocess.Popen([sys.executable, "-c", program], text=True, **pipes))
        return launched[-1]

    monkeypatch.setattr(module, "launch_writer", launch)
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    prepare_writer()
    assert not launched
    monkeypatch.delenv("CAPTIONSEG_TRACKING")
    for _ in range(2):
        prepare_writer()
    assert len(launched) == 1
    for count in (1, 2):
        with start("toy", None, root=tmp_path):
            assert len(launched) == count
    for writer in launched:
        writer.stdout.close()
        assert writer.returncode == 0


def test_numbers_are_what_can_be_drawn():
    values = {
        "a": {"b": np.float32(0.5), "c": 2},
        "d": "3",
        "e": None,
        "f": True,
        "g": np.ones(2),
        "h": np.int64(4),
    }
    assert flatten_numbers(values) == {"a.b": 0.5, "a.c": 2.0, "f": 1.0, "h": 4.0}


def test_importing_the_tracker_does_not_import_mlflow():
    program = (
        "import sys, captionseg.tracking; assert not {'mlflow', 'psutil', 'numpy'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_what_is_sent_is_what_the_writer_takes(tmp_path, monkeypatch):
    sent = []
    tracker = object.__new__(WriterTracker)
    monkeypatch.setattr(tracker, "_send", lambda call, **values: sent.append((call, values)))
    tracker.params({"a": {"b": 1}})
    tracker.metrics({"a": {"b": 1}}, step=2)
    tracker.tags({"recipe": "cocu-mil"})
    tracker.inputs({"pairs": Path("data/pairs")})
    tracker.artifact(tmp_path / "a.png", "plots")
    tracker.model(Path("models/cocu-mil"), "cocu-mil")
    tracker.summary({"a": 1}, [Path("reports/index.html")])
    folders = {name: Path(name) for name in ("models", "areas", "pairs", "pictures")}
    tracker.recipes({"gate": {"passed": 1}}, {"cocu-mil": {}}, benchmark="p", folders=folders)
    assert [call for call, _ in sent] == [call for call in CALLS if call != "flush"]
    for call, values in sent:
        inspect.signature(getattr(StageRun, call)).bind(None, **values)
        json.dumps(values)
    recipe_runs.RecipeReport(**sent[7][1])
    assert sent[3][1] == {"paths": {"pairs": "data/pairs"}}
    assert sent[5][1] == {"folder": str(Path.cwd() / "models/cocu-mil"), "name": "cocu-mil"}


def test_off_says_nothing_to_nobody(tmp_path, monkeypatch):
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    with start("index", None, root=tmp_path) as tracker:
        tracker.params({"a": 1})
        tracker.metrics({"b": 1.0}, step=1)
        tracker.tags({"a": "b"})
        tracker.inputs({"gone": tmp_path / "gone"})
        tracker.artifact(tmp_path / "gone.png")
        tracker.model(tmp_path, "cocu-mil")
        tracker.summary({}, [])
        tracker.recipes({}, {}, benchmark="p", folders={})
    assert list(tmp_path.iterdir()) == []


def test_a_reproduction_with_a_failure_and_a_report(root, monkeypatch):
    monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", "abc")
    monkeypatch.setenv("MLFLOW_RUN_ID", "of-somebody-else")
    (root / "curve.png").write_bytes(b"png")

    def pretrain():
        with start(
            "pretrain", "cocu-mil", root=root, params={"seed": 1, "train": {"lr": 0.1}}
        ) as tracker:
            tracker.params({"train": {"lr": 0.1}})
            for step in range(3):
                tracker.metrics({"loss": 1.0 - step / 10}, step=step)
            tracker.artifact(root / "curve.png", "plots")
            tracker.summary({"miou": 1.0}, [root / "curve.png"])
            raise ValueError("no pairs")

    with pytest.raises(ValueError, match="no pairs"):
        pretrain()
    failed = runs(root)
    parent, stage = failed["flow abc"], failed["pretrain/cocu-mil"]
    assert (stage.info.status, parent.info.status) == ("FAILED", "FAILED")
    assert stage.data.tags["error"] == "ValueError: no pairs"
    assert stage.data.tags[PARENT] == parent.info.run_id
    assert stage.data.params == {"train.lr": "0.1"}
    assert parent.data.params == {"seed": "1", "train.lr": "0.1"}
    client = Store(root, 5.0).client
    assert [(m.step, m.value) for m in client.get_metric_history(stage.info.run_id, "loss")] == [
        (0, 1.0),
        (1, 0.9),
        (2, 0.8),
    ]
    assert [f.path for f in client.list_artifacts(stage.info.run_id, "plots")] == [
        "plots/curve.png"
    ]
    assert parent.data.metrics == {}, "reports of a stage that failed are not the reproduction's"

    with start("report", None, root=root) as tracker:
        tracker.summary({"recipes": {"cocu-mil": {"miou": 36.0}}}, [root / "curve.png"])
    parent = runs(root)["flow abc"]
    assert parent.data.metrics == {"recipes.cocu-mil.miou": 36.0}
    assert [f.path for f in client.list_artifacts(parent.info.run_id)] == ["curve.png"]
    assert parent.info.status == "FAILED", "pretrain is still not mended"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt(), SystemExit(143)])
def test_an_interrupt_is_a_kill_not_a_failure(tmp_path, monkeypatch, interrupt):
    ends = []
    fake = SimpleNamespace(end=lambda *said: ends.append(said))
    monkeypatch.delenv("CAPTIONSEG_TRACKING", raising=False)
    monkeypatch.setattr(module, "WriterTracker", lambda *_, **__: fake)
    with pytest.raises(type(interrupt)), start("index", None, root=tmp_path):
        raise interrupt
    assert ends == [("KILLED", "")]


def test_a_stage_whose_process_group_is_ended_shows_as_killed(root):
    def status(root):
        found = runs(root).get("pretrain/cocu-mil")
        return found and found.info.status

    stage = run_program(
        "with start('pretrain', 'cocu-mil', root=root) as tracker:\n"
        "    tracker.metrics({'loss': 0.5}, step=7)\n"
        "    time.sleep(60)\n",
        root,
    )
    with stage:
        wait_for(lambda: status(root) == "RUNNING")
        os.killpg(stage.pid, signal.SIGTERM)
    wait_for(lambda: status(root) != "RUNNING")
    assert status(root) == "KILLED"
    found = runs(root)["pretrain/cocu-mil"].data.metrics
    assert {name: value for name, value in found.items() if not name.startswith("system/")} == {
        "loss": 0.5
    }


def test_three_stages_at_once_make_one_store_and_one_parent(root, monkeypatch):
    (root / "mlflow.db").unlink()
    monkeypatch.setenv("DVC_EXP_NAME", "wide")
    program = (
        "with start('pretrain', 'r{}', root=root) as tracker:\n"
        "    for step in range(1200): tracker.metrics({{'loss': step}}, step=step)\n"
    )
    stages = [run_program(program.format(i), root) for i in range(3)]
    for stage in stages:
        stage.communicate()
        assert stage.returncode == 0
    found = runs(root)
    assert sorted(map(str, found)) == ["exp wide", "pretrain/r0", "pretrain/r1", "pretrain/r2"]
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    client = Store(root, 5.0).client
    for i in range(3):
        assert len(client.get_metric_history(found[f"pretrain/r{i}"].info.run_id, "loss")) == 1200


def test_a_locked_store_is_one_line_and_the_stage_goes_on(root, monkeypatch, capfd):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with contextlib.closing(
        sqlite3.connect(root / "mlflow.db", isolation_level=None)
    ) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with start("index", None, root=root) as tracker:
            tracker.metrics({"a": 1.0})
        connection.execute("ROLLBACK")
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "database is locked" in said
    assert runs(root) == {}


def test_a_broken_store_is_one_line_and_the_stage_goes_on(tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("CAPTIONSEG_TRACKING", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_text("not a database " * 100)
    with start("index", None, root=tmp_path) as tracker:
        # far more than a pipe holds: a writer that is gone must not hold up the stage
        for step in range(5000):
            tracker.metrics({"a": 1.0}, step=step)
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "file is not a database" in said


@pytest.mark.parametrize(
    ("script", "warning"),
    [
        ("kill -9 $$", "died (code -9)"),
        ("exec sleep 60", "did not finish within 0.2 s"),
        (None, "cannot start the writer"),
    ],
)
def test_a_writer_that_is_lost_does_not_fail_the_stage(root, monkeypatch, caplog, script, warning):
    fake = executable(root / "python", script) if script else str(root / "gone")
    monkeypatch.setattr(sys, "executable", fake)
    monkeypatch.setattr(module, "FAREWELL", 0.2)
    with caplog.at_level(logging.WARNING), start("index", None, root=root) as tracker:
        tracker.metrics({"a": 1.0})
    assert warning in caplog.text
    assert len(caplog.records) == 1
