"""The whole DAG, by DVC, on drawn shapes, in a clone of this repository: one run, looked at from several sides."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPES = ("nouns-mil", "cocu-mil")


def dvc(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # A process group of its own lets nothing of it outlive a test that is interrupted.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "GIT_"))}
    environment |= {"DVC_NO_ANALYTICS": "1", "CAPTIONSEG_TRACKING": "off", "OMP_NUM_THREADS": "1",
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=clone, env=environment, text=True,
                          capture_output=True, check=False)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files of this checkout as a repository of their own, set to shapes, and `dvc repro` run in it."""
    folder = tmp_path_factory.mktemp("clone") / "captionseg"
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in filter(None, names):
        made = name.startswith("reports/") and Path(name).name != "README.md"
        if not made and not name.startswith(("dvc.lock", "tests/")) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["download"] |= {"source": "shapes", "shard_size": 60}
    params["runtime"]["workers"] = 1
    params["index"] |= {"neighbours": 32, "dense_width": 64, "dense_sample": 40}
    params["curate"]["vocabulary"] = {"minimum": 3}
    params["curate"]["cocu"]["neighbours"] = params["curate"]["cocu_calibrated"]["neighbours"] = 32
    params["pretrain"] |= {"seeds": [0], "epochs": 2, "batch": 32}
    params["recipes"] = {name: params["recipes"][name] for name in RECIPES}
    params["gate"] = {"something is learnt": "recipes.cocu-mil.photo_scenes.miou >= 1"}
    params["validate"] = {"min_with_concepts": 0.5}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run("git init -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm t", shell=True,
                   cwd=folder, check=True)
    done = dvc(folder, "repro")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_metrics_are_complete(clone):
    metrics = json.loads((clone / "reports" / "metrics.json").read_text())
    assert metrics["data"]["pairs"] == 168
    assert set(metrics["recipes"]) == set(RECIPES)
    for recipe in RECIPES:
        assert 0 < metrics["recipes"][recipe]["photo_scenes"]["miou"] <= 100
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


def test_a_second_time_nothing_runs(clone):
    done = dvc(clone, "repro")
    assert done.returncode == 0
    assert "Running stage" not in done.stdout
    assert "up to date" in done.stdout


def test_captions_outlive_what_empties_outs(clone):
    """A change of segment_text does not touch them, and one of caption runs it on what is there."""
    path = clone / "params.yaml"
    before = path.read_text()
    params = yaml.safe_load(before)
    path.write_text(yaml.safe_dump(params | {"segment_text": {**params["segment_text"], "nms_iou": 0.6}}))
    planned = dvc(clone, "repro", "--dry", "segment_text").stdout
    assert "Running stage 'segment_text'" in planned
    assert "Running stage 'caption'" not in planned
    dear = clone / "data" / "captions" / "0123456789abcdef" / "00000.parquet"
    dear.parent.mkdir()
    dear.write_bytes(b"hours of a GPU")
    path.write_text(yaml.safe_dump(params | {"caption": {"captioner": "none", "split": "tune"}}))
    done = dvc(clone, "repro", "-s", "caption")
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
    run = [sys.executable, "-m", "stages.run", "validate", "--pairs", "data/pairs", "--supervision",
           "data/supervision", "--segments", "data/segments", "--docs", "reports/validation", "--summary",
           "reports/validation.json", "--verdict", "data/verdict.json"]
    done = subprocess.run(run, cwd=clone, text=True, capture_output=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(clone), "CAPTIONSEG_TRACKING": "off"})
    assert done.returncode == 1
    assert "unique" in done.stderr.splitlines()[-1]
    assert uid[1] in done.stderr
    assert (clone / "models" / "cocu-mil" / "model.safetensors").read_bytes() == before
