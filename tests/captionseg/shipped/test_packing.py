"""The model that comes with the package is that of the committed run, whole, and usable."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from captionseg import cli, shipped
from captionseg.extras import EXTRAS
from captionseg.modeling.weights import saved
from captionseg.records import UserError
from captionseg.shipped import packing
from captionseg.shipped.card import render
from captionseg.storage.reading import read_json
from tests.contracts.documents import Document

ROOT = Path(__file__).parents[3]
ANEW = "run `make shipped` after a whole run (`make repro`), and commit captionseg/shipped"


@pytest.fixture
def model() -> Path:
    folder = shipped.path()
    assert folder is not None
    return folder


@pytest.fixture
def run(tmp_path, model):
    """A finished run whose best recipe is called after its copy of the shipped model."""
    for recipe in ("best-mil", "worse-mil", "unscored"):
        shutil.copytree(model, tmp_path / "models" / recipe)
    (tmp_path / "reports").mkdir()
    scores = read_json(model / shipped.RECORD)["scores"]
    worse = {**scores, "train": {**scores["train"], "tune_miou": 1.0}}
    unscored = {**scores, "train": {"loss": 1.0}}
    recipes = {"worse-mil": worse, "best-mil": scores, "unscored": unscored}
    (tmp_path / "reports" / "metrics.json").write_text(json.dumps({"recipes": recipes}))
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("cocu_calibrated-mil:", "best-mil:"))
    return tmp_path


def test_it_is_the_best_of_the_committed_run(model):
    """Recipe, settings and scores; a new run of the default data needs a new model."""
    record = read_json(model / shipped.RECORD)
    assert {**packing.describe(ROOT), "seed": record["seed"]} == record, ANEW
    assert model.name == record["recipe"]


def test_its_card_is_what_the_code_writes(model):
    assert (model / "README.md").read_text(encoding="utf-8") == render(model), ANEW


def test_its_card_says_what_people_ask(model):
    card = Document(str((model / "README.md").relative_to(ROOT)))
    assert {"#its-words", "#scores", "#what-it-is-weak-at", "#data-and-licences", "#recipe"} <= {
        f"#{anchor}" for anchor in card.anchors
    }
    for word in (model / saved.CONCEPTS).read_text().split("\n"):
        assert word in card.text


def test_it_is_small_and_whole(model):
    files = {p.relative_to(model).as_posix(): p.stat().st_size for p in model.rglob("*.*")}
    assert {*packing.FILES, "README.md", shipped.RECORD} == {*files}
    assert sum(files.values()) < 3e6


def test_packing_takes_the_best_on_the_tune_split_and_drops_the_former(run, tmp_path):
    target = tmp_path / "package"
    former = target / "former"
    former.mkdir(parents=True)
    (former / shipped.RECORD).write_text("{}")
    (target / "kept").mkdir()
    folder = packing.pack(run, target)
    assert folder == target / "best-mil"
    assert sorted(p.name for p in target.iterdir()) == ["best-mil", "kept"]
    assert (folder / "model.safetensors").read_bytes() == (
        run / "models" / "best-mil" / "model.safetensors"
    ).read_bytes()
    record = read_json(folder / shipped.RECORD)
    assert record["recipe"] == "best-mil"
    assert record["params"]["pretrain.segment_mil"]["width"] == 256
    assert (folder / "README.md").read_text().startswith("# best-mil\n")
    assert packing.pack(run, target) == folder  # a second time in its place


def test_a_run_without_scores_or_files_is_refused(run, tmp_path):
    target = tmp_path / "package"
    (run / "models" / "best-mil" / "encoder" / "reduction.safetensors").unlink()
    with pytest.raises(UserError, match=r"reduction.safetensors: no such file; .*dvc repro"):
        packing.pack(run, target)
    assert not list(target.iterdir())
    metrics = {"recipes": {"nouns-mil": {"train": {"loss": 1.0}}}}
    (run / "reports" / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match="no recipe has a score on the tune split"):
        packing.describe(run)


def test_without_a_model_of_ones_own_segment_takes_it_and_says_so(
    tmp_path, monkeypatch, capsys, model
):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for name in (name for modules in EXTRAS.values() for name in modules):
        monkeypatch.setitem(sys.modules, name, None)  # as where only `pip install .` was run
    colours = np.zeros((64, 96, 3), np.uint8)
    colours[:, :48], colours[:, 48:] = (90, 160, 60), (120, 170, 240)
    Image.fromarray(colours).save("picture.png")
    assert cli.main(["segment", "picture.png", "--labels", "grass, sky"]) == 0
    out, err = capsys.readouterr()
    assert f"{model.name}, which comes with the package" in err
    assert {line.split()[0] for line in out.splitlines()[:2]} == {"grass", "sky"}


def test_a_package_without_a_model_has_no_path(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    assert shipped.path() is None
