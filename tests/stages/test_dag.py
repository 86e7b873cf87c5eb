"""The whole DAG on drawn shapes (conftest.py runs it once), looked at from several sides."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml

from captionseg.cli import main

RECIPES = ("nouns-mil", "cocu-mil")


def test_metrics_are_complete(clone):
    metrics = json.loads((clone / "reports" / "metrics.json").read_text())
    assert metrics["data"]["pairs"] == 168
    assert set(metrics["recipes"]) == set(RECIPES)
    for recipe in RECIPES:
        assert 0 < metrics["recipes"][recipe]["shapes"]["miou"] <= 100
    assert metrics["curation"]["cocu"]["recall"] > metrics["curation"]["nouns"]["recall"]
    assert metrics["gate"] == {"passed": 1}


def test_held_out_measures_are_those_of_the_command(clone, capsys):
    """It measures what is in data/; a part of the rows gives other values."""

    def measure(*words):
        places = ["--data", str(clone / "data"), "--params", str(clone / "params.yaml")]
        assert main(["held-out", *places, "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)

    curation = json.loads((clone / "reports" / "metrics.json").read_text())["curation"]
    whole = measure()
    for rule in ("nouns", "cocu"):
        assert whole[rule] == pytest.approx(curation[rule]["held_out"], abs=1e-4)
    first, second = measure("--rows", ":100"), measure("--rows", "100:")
    count = [measures["cocu"]["pictures"] for measures in (first, second, whole)]
    assert count[0] + count[1] == count[2]
    assert count[0] > 0 < count[1]


def test_every_artifact_is_where_the_design_says(clone):
    for name in (
        "data/pairs/00000.tar",
        "data/pairs/00000_stats.json",
        "data/index/image.index",
        "data/index/neighbours.npy",
        "data/segments/00000.parquet",
        "reports/validation/index.html",
        "reports/index.html",
        "reports/comparison.html",
        "reports/comparison.md",
        "reports/comparison/curves.png",
        "models/cocu-mil/model.safetensors",
        "models/cocu-mil/encoder/encoder.json",
    ):
        assert (clone / name).is_file(), name
    table = pq.read_table(clone / "data" / "supervision" / "cocu" / "00000.parquet")
    assert len(table) == 60


def test_a_second_time_nothing_runs(run):
    done = run.dvc("repro")
    assert done.returncode == 0
    assert "Running stage" not in done.stdout
    assert "up to date" in done.stdout


def test_what_mlflow_shows_does_not_depend_on_which_stages_ran(run, tmp_path):
    """report has said all there is; into a store that knows nothing the files say the same,
    once."""

    def sync(**environ):
        done = run.guard.python("-m", "captionseg", "sync", cwd=run.root, env=environ)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def recipes(path):
        asked = (
            "select tags.run_uuid, metrics.value from tags join latest_metrics metrics using "
            "(run_uuid) where tags.key = 'role' and tags.value = 'recipe' and metrics.key = 'miou'"
        )
        with contextlib.closing(sqlite3.connect(path)) as database:
            champion = database.execute(
                "select alias from registered_model_aliases where name = 'captionseg'"
            )
            return sorted(value for _, value in database.execute(asked)), champion.fetchall()

    assert sync() == "sync: MLflow shows it already\n"
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    assert sync(**store).startswith("sync: 2 recipes in run ")
    assert sync(**store) == "sync: MLflow shows it already\n"
    scores = json.loads((run.root / "reports" / "metrics.json").read_text())["recipes"]
    expected = sorted(scores[recipe]["shapes"]["miou"] for recipe in RECIPES), [("champion",)]
    assert recipes(run.root / "mlflow.db") == expected
    assert recipes(tmp_path / "mlflow.db") == expected


def test_words_about_a_recipe_are_no_input_of_its_training(run, clone):
    path = clone / "params.yaml"
    before = path.read_text()
    params = yaml.safe_load(before)
    params["about"]["cocu-mil"] = "Other words."
    path.write_text(yaml.safe_dump(params))
    try:
        planned = run.dvc("repro", "--dry").stdout
    finally:
        path.write_text(before)
    assert re.findall(r"Running stage '(.*)'", planned) == ["report", "compare"]


def test_what_differs_from_run_to_run_is_in_no_lock(clone):
    """The same commit leaves the same dvc.lock, so that branches do not conflict in it."""
    stages = yaml.safe_load((clone / "dvc.lock").read_text())["stages"].values()
    assert not [
        out["path"] for stage in stages for out in stage["outs"] if "timings" in out["path"]
    ]
    assert json.loads((clone / "reports" / "timings" / "cocu-mil.json").read_text())["seconds"] > 0
    listed = subprocess.run(
        ["git", "status", "--short", "--untracked-files=all"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "timings" not in listed


def test_the_metrics_of_dvc_are_the_miou_of_each_recipe(run, clone):
    metrics = json.loads((clone / "reports" / "metrics.json").read_text())["recipes"]["cocu-mil"][
        "shapes"
    ]
    found = json.loads(run.dvc("metrics", "show", "--json").stdout)[""]["data"]
    assert list(found) == ["reports/summary.json"]
    summary = found["reports/summary.json"]["data"]
    assert summary["miou"]["cocu-mil"] == metrics["miou"]
    assert summary["champion"] in summary["miou"]
    scores = clone / "reports" / "scores" / "cocu-mil" / "metrics.json"
    own = json.loads(scores.read_text())["cocu-mil"]["shapes"]
    assert round(own["miou"], 4) == metrics["miou"]
    assert "per_class" not in own


def test_captions_outlive_what_empties_outs(run, clone):
    """A change of segment_text does not touch them, and one of caption runs it on what is there."""
    path = clone / "params.yaml"
    before = path.read_text()
    params = yaml.safe_load(before)
    path.write_text(
        yaml.safe_dump(params | {"segment_text": {**params["segment_text"], "nms_iou": 0.6}})
    )
    planned = run.dvc("repro", "--dry", "segment_text").stdout
    assert "Running stage 'segment_text'" in planned
    assert "Running stage 'caption'" not in planned
    dear = clone / "data" / "captions" / "0123456789abcdef" / "00000.parquet"
    dear.parent.mkdir()
    dear.write_bytes(b"hours of a GPU")
    path.write_text(yaml.safe_dump(params | {"caption": {"captioner": "none", "split": "tune"}}))
    done = run.dvc("repro", "-s", "caption")
    assert "Running stage 'caption'" in done.stdout, done.stdout + done.stderr
    assert dear.read_bytes() == b"hours of a GPU"
    assert (
        json.loads((clone / "data" / "captions" / "captions.json").read_text())["captioner"]
        == "none"
    )
    path.write_text(before)


def test_a_trained_model_segments_a_picture(clone):
    from captionseg.datasets.shard_images import read_images
    from captionseg.inference.predictor import Predictor

    _, image = next(read_images(clone / "data" / "pairs", "00000"))
    labels = Predictor.load(clone / "models" / "cocu-mil", device="cpu").segment(
        image, ["circle", "grass"]
    )
    assert labels.shape == image.shape[:2]
    assert set(labels.ravel().tolist()) <= {0, 1}


def test_poisoned_tables_stop_the_run_before_training(clone):
    path = clone / "data" / "supervision" / "cocu" / "00000.parquet"
    table = pq.read_table(path)
    uid = table["uid"].to_pylist()
    path.unlink()  # DVC may have linked it
    pq.write_table(table.set_column(0, table.schema.field(0), [[uid[1], *uid[1:]]]), path)
    before = (clone / "models" / "cocu-mil" / "model.safetensors").read_bytes()
    command = yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]["validate"]["cmd"]
    words = shlex.split(command.removeprefix("${run} "))
    environ = {**os.environ, "PYTHONPATH": str(clone), "CAPTIONSEG_TRACKING": "off"}
    done = subprocess.run(
        [sys.executable, "-m", "stages.run", *words],
        cwd=clone,
        text=True,
        capture_output=True,
        check=False,
        env=environ,
    )
    assert done.returncode == 1
    assert "pairs in all tables: " in done.stderr.splitlines()[-1]
    assert "supervision cocu failed in 2 of 168 rows" in done.stderr.splitlines()[-1]
    found = (clone / ".work" / "validate-failed" / "validation.json").read_text()
    assert "unique" in found
    assert uid[1] in found
    assert (clone / "models" / "cocu-mil" / "model.safetensors").read_bytes() == before
