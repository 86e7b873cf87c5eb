"""No request leaves the machine while the DAG runs: DVC, MLflow, Great Expectations and all below
them ask for nothing.

tests/flows/test_offline.py has Prefect.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_whole_dag_asks_for_nothing(run):
    assert run.guard.recorded("refused", "unwatched") == []


def test_every_process_of_it_was_watched(run):
    said = "\n".join(run.guard.recorded("process"))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert {name for name in stages if not re.search(rf"-m stages\.run {name} ", said)} == set()
    assert "-m dvc repro" in said
    assert "-m captionseg.tracking.writer" in said


def test_the_run_was_tracked(run):
    """By default, into the file beside it; otherwise MLflow would have had nothing to say."""
    with contextlib.closing(sqlite3.connect(run.root / "mlflow.db")) as database:
        runs = database.execute("select status from runs").fetchall()
        broken = database.execute(
            "select value from tags where key = 'tracking.incomplete'"
        ).fetchall()
    assert broken == []
    assert len(runs) >= 14  # the reproduction, and each of its stages
    assert {status for (status,) in runs} <= {"FINISHED", "KILLED"}
