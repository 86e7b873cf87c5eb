"""The whole DAG on drawn shapes (conftest.py runs it once), looked at from several sides."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import yaml

RECIPES = ("nouns-mil", "cocu-mil")



def test_metrics_are_complete(clone):
    metrics = json.loads((clone / "reports" / "metrics.json").read_text())
    assert metrics["data"]["pairs"] == 168
    assert set(metrics["recipes"]) == set(RECIPES)
    for recipe in RECIPES:
        assert 0 < metrics["recipes"][recipe]["shapes"]["miou"] <= 100
    assert metrics["curation"]["cocu"]["recall"] > metrics["curation"]["nouns"]["recall"]
    assert metrics["gate"] == {"passed": 1}


def test_every_artifact_is_where_the_design_says(clone):
    for name in ("data/pairs/00000.tar", "data/pairs/00000_stats.json", "data/index/image.index",
                 "data/index/neighbours.parquet", "data/segments/00000.parquet", "reports/validation/index.html",
                 "reports/index.html", "reports/comparison.html", "reports/comparison.md",
                 "reports/comparison/curves.png", "models/cocu-mil/model.safetensors",
                 "models/cocu-mil/encoder/encoder.json"):
        assert (clone / name).is_file(), name
    table = pq.read_table(clone / "data" / "supervision" / "cocu" / "00000.parquet")
    assert len(table) == 60


def test_a_second_time_nothing_runs(run):
    done = run.dvc("repro")
    assert done.returncode == 0
    assert "Running stage" not in done.stdout
    assert "up to date" in done.stdout


def test_captions_outlive_what_empties_outs(run, clone):
    """A change of segment_text does not touch them, and one of caption runs it on what is there."""
    path = clone / "params.yaml"
    before = path.read_text()
    params = yaml.safe_load(before)
    path.write_text(yaml.safe_dump(params | {"segment_text": {**params["segment_text"], "nms_iou": 0.6}}))
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
    assert json.loads((clone / "data" / "captions" / "captions.json").read_text())["captioner"] == "none"
    path.write_text(before)


def test_a_trained_model_segments_a_picture(clone):
    from captionseg.datasets.shards import read_images
    from captionseg.inference import Predictor

    _, image = next(read_images(clone / "data" / "pairs", "00000"))
    labels = Predictor.load(clone / "models" / "cocu-mil", device="cpu").segment(image, ["circle", "grass"])
    assert labels.shape == image.shape[:2]
    assert set(labels.ravel().tolist()) <= {0, 1}


def test_poisoned_tables_stop_the_run_before_training(clone):
    path = clone / "data" / "supervision" / "cocu" / "00000.parquet"
    table = pq.read_table(path)
    uid = table["uid"].to_pylist()
    path.unlink()  # DVC may have linked it
    pq.write_table(table.set_column(0, table.schema.field(0), [[uid[1], *uid[1:]]]), path)
    before = (clone / "models" / "cocu-mil" / "model.safetensors").read_bytes()
    words = [sys.executable, "-m", "stages.run", "validate", "--pairs", "data/pairs", "--supervision",
             "data/supervision", "--segments", "data/segments", "--docs", "reports/validation", "--summary",
             "reports/validation.json", "--verdict", "data/verdict.json"]
    done = subprocess.run(words, cwd=clone, text=True, capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(clone), "CAPTIONSEG_TRACKING": "off"})
    assert done.returncode == 1
    assert "unique" in done.stderr.splitlines()[-1]
    assert uid[1] in done.stderr
    assert (clone / "models" / "cocu-mil" / "model.safetensors").read_bytes() == before
