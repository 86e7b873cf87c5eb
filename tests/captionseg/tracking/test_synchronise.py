"""What MLflow shows does not depend on which stages ran: out of the files it is the same, and it is
added once.
"""

import json
import shutil
import subprocess
import sys

import pytest
import yaml

from captionseg import cli
from captionseg.tracking import logged_models, reproduction_files
from captionseg.tracking.registry import NAME
from captionseg.tracking.stage_run import open_stage_run
from captionseg.tracking.store import Store
from tests.dvc_repository import init_dvc

WORDS = (
    "--models models --areas areas --pairs pairs --pictures pictures --metrics "
    "reports/metrics.json --plots plots --page reports/index.html"
)
PARAMS = {
    "evaluate": {"name": "shapes"},
    "pretrain": {"seeds": [0, 1]},
    "about": {"a": "the first"},
    "recipes": {name: {"curation": "nouns", "archive": "nouns"} for name in ("a", "b")},
}


@pytest.fixture
def checkout(root, left, monkeypatch):
    """A small repository of DVC whose stages `pretrain` and `report` are up to date; nothing was
    ever tracked.
    """
    monkeypatch.chdir(root)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(root / "site"))
    (root / "empty" / "captionseg").mkdir(parents=True)
    (root / "empty" / "captionseg" / "__init__.py").touch()
    monkeypatch.setattr(logged_models, "LIBRARY", root / "empty" / "captionseg")
    numbers = left({"a": (30.0, 10.0), "b": (20.0, 40.0)})["numbers"]
    (root / "made.json").write_text(json.dumps(numbers))
    (root / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    copy = (
        f"{sys.executable} -c \"import shutil; shutil.copy('made.json', 'reports/metrics.json')\""
    )
    outs = [{f"models/{name}": {"cache": False}} for name in ("a", "b")]
    dag = {
        "pretrain": {"cmd": "true", "outs": outs},
        "report": {
            "cmd": f"{copy} {WORDS}",
            "deps": ["models", "areas", "pairs"],
            "params": ["recipes", "about"],
            "metrics": [{"reports/metrics.json": {"cache": False}}],
        },
    }
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": dag}))
    (root / "reports").mkdir()
    shutil.copytree(root / "models", root / "kept")  # DVC empties outs before it runs a stage
    dag["pretrain"]["cmd"] = "cp -r kept/. models"
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": dag}))
    init_dvc(root, git=False)
    dvc(root, "repro", "-q")
    return root


def dvc(root, *words):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sync(capsys):
    capsys.readouterr()
    code = cli.main(["sync"])
    out, err = capsys.readouterr()
    return code, out, err


def shown(root):
    """(names of runs, mIoU by recipe, recipe of the champion)."""
    store = Store(root, 5.0)
    recipes = store.runs("tags.role = 'recipe'")
    found = store.client.search_registered_models(f"name = '{NAME}'")
    champion = found and store.client.get_model_version_by_alias(NAME, "champion").tags["recipe"]
    return (
        len(store.runs("")),
        {run.info.run_name: run.data.metrics["miou"] for run in recipes},
        champion,
    )


def test_a_clone_in_which_no_stage_had_to_run_gets_recipes_numbers_and_a_champion_once(
    checkout, capsys
):
    code, out, err = sync(capsys)
    assert code == 0, err
    assert out.startswith("sync: 2 recipes in run ")
    assert shown(checkout) == (3, {"a": 10.0, "b": 40.0}, "a")
    (parent,) = Store(checkout, 5.0).runs("tags.role = 'reproduction'")
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["recipes.b.shapes.miou"] == 40.0
    assert sync(capsys) == (0, "sync: MLflow shows it already\n", "")
    assert shown(checkout)[0] == 3
    for path in checkout.glob("mlflow.db*"):  # somebody starts afresh
        path.unlink()
    assert sync(capsys)[0] == 0
    assert shown(checkout) == (3, {"a": 10.0, "b": 40.0}, "a")


def test_what_is_not_up_to_date_is_not_shown(checkout, capsys):
    changed = PARAMS | {"about": {"a": "another"}}
    (checkout / "params.yaml").write_text(yaml.safe_dump(changed))
    assert sync(capsys) == (1, "", "error: report: not up to date; run `dvc repro` first\n")
    (checkout / "reports" / "metrics.json").write_text("{}")
    assert sync(capsys) == (1, "", "error: no reports that match dvc.lock; run `dvc repro` first\n")
    assert shown(checkout) == (0, {}, [])
    (checkout / "dvc.lock").write_text("<<<<<<< HEAD\nstages: {")
    code, out, err = sync(capsys)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: tracking: ")


def test_after_a_stage_report_is_shown_if_dvc_passes_over_it(checkout, monkeypatch):
    """As in a clone whose lock is current: the last stage that runs speaks for report, earlier ones
    do not.
    """
    monkeypatch.setenv("DVC_STAGE", "evaluate@b")
    monkeypatch.setenv("CAPTIONSEG_FLOW_RUN", "f1")
    weights = checkout / "models" / "b" / "model.safetensors"
    kept = weights.read_bytes()
    for state, recipes in (("gone", {}), ("other", {}), ("as recorded", {"a": 10.0, "b": 40.0})):
        weights.unlink(missing_ok=True)
        if state != "gone":
            weights.write_bytes(kept if state == "as recorded" else b"trained anew")
        stage = open_stage_run(Store(checkout, 5.0), "evaluate", "b", {})
        stage.finish()
        stage.close("FINISHED", "")
        assert shown(checkout)[1] == recipes, state
    assert shown(checkout)[2] == "a"
    store = Store(checkout, 5.0)
    assert {run.data.tags["reproduction"] for run in store.runs("tags.role = 'recipe'")} == {
        "flow-f1"
    }
    assert store.client.get_run(stage.parent).data.metrics["recipes.a.shapes.miou"] == 10.0
    before = shown(checkout)
    stage.finish()
    assert shown(checkout) == before
    assert cli.main(["sync"]) == 0, "as the flow ends"
    assert shown(checkout) == before


def test_options_are_those_of_the_command():
    command = (
        "env PYTHONPATH=. python -m stages.run report --pairs data/pairs --metrics 'my "
        "reports/metrics.json'"
    )
    assert reproduction_files.parse_options(command) == {
        "pairs": "data/pairs",
        "metrics": "my reports/metrics.json",
    }


def test_off_is_said_and_nothing_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    assert sync(capsys)[:2] == (0, "sync: nothing recorded, CAPTIONSEG_TRACKING is off\n")
    assert not list(tmp_path.iterdir())
