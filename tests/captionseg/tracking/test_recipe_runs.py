"""A run for each recipe, with equal names for equal things."""

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.tracking import recipe_runs
from captionseg.tracking.stage_run import open_stage_run

PARAMS = {
    "pretrain.epochs": 8,
    "pretrain.segment_mil.hidden": 256,
    "pretrain.segment_mil.dropout": 0.5,
    "pretrain.groupvit.depth": 12,
    "recipes.a.curation": "nouns",
    "about.a": "the baseline",
    "recipes.a.training.epochs": 2,
    "recipes.a.settings.dropout": 0.1,
    "recipes.ab.curation": "cocu",
}


def runs(run):
    """name -> run of the reproduction's recipes."""
    return {
        found.info.run_name: found for found in run.store.recipes(run.about.tags["reproduction"])
    }


def test_each_recipe_is_a_run_with_params_scores_curves_pictures_and_its_model(reproduce):
    stage = reproduce({"a": (30.0, 10.0), "ab": (20.0, 40.0)}, params=PARAMS)
    client, found = stage.store.client, runs(stage)
    assert set(found) == {"a", "ab"}
    assert client.get_run(stage.parent).data.tags["recipes"] == "a, ab"
    run = found["a"]
    assert run.info.status == "FINISHED"
    assert {
        "role": "recipe",
        "recipe": "a",
        "model": "segment_mil",
    }.items() <= run.data.tags.items()
    assert run.data.tags["mlflow.note.content"] == "the baseline"
    assert run.data.params == {
        "curation": "nouns",
        "model": "segment_mil",
        "training.epochs": "2",
        "settings.hidden": "256",
        "settings.dropout": "0.1",
    }
    assert run.data.metrics == {
        "miou": 10.0,
        "tune_miou": 30.0,
        "loss": 1.0,
        "shapes@tcl.miou".replace("@", "_"): 1.0,
        "curve.loss": 3.0,
    }
    history = client.get_metric_history(run.info.run_id, "curve.loss")
    assert sorted((m.step, m.value) for m in history) == [(0, 1.0), (1, 2.0), (2, 3.0)], (
        "means of two seeds"
    )
    assert [file.path for file in client.list_artifacts(run.info.run_id, "pictures")] == [
        "pictures/scene_1.jpg"
    ]
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert logged.tags["recipe"] == "a"
    assert {m.key: m.value for m in logged.metrics}["miou"] == 10.0, (
        "models are compared by it as well"
    )
    data = Path(logged.artifact_location.removeprefix("file://"), "data", "a")
    assert (data / "model.safetensors").read_bytes() == b"a"


def test_a_report_that_is_made_again_fills_the_same_runs(reproduce, left):
    stage = reproduce({"a": (30.0, 10.0)})
    again = open_stage_run(stage.store, "report", None, {})
    again.recipes(**left({"a": (30.0, 11.0)}))
    again.finish()
    again.close("FINISHED", "")
    (run,) = runs(stage).values()
    assert run.data.metrics["miou"] == 11.0
    assert run.info.status == "FINISHED"
    assert len(stage.store.client.get_metric_history(run.info.run_id, "curve.loss")) == 3, (
        "each point once"
    )


def test_recipes_are_rows_of_their_own_which_know_their_reproduction(reproduce):
    """MLflow's pages fold whatever has a parent into the parent's row, also where only the children
    were asked for.
    """
    stage = reproduce({"a": (30.0, 10.0), "ab": (20.0, 40.0)}, params=PARAMS)
    found = stage.store.client.search_runs([stage.store.experiment], "tags.role = 'recipe'")
    assert sorted(run.info.run_name for run in found) == ["a", "ab"]
    assert ["mlflow.parentRunId" in run.data.tags for run in found] == [False, False]
    assert {run.data.tags["reproduction.run"] for run in found} == {stage.parent}
    assert {run.data.metrics["miou"] for run in found} == {10.0, 40.0}


def test_what_is_known_of_one_recipe_is_shown_before_there_is_a_report(reproduce, left, root):
    """As `evaluate` says it: the run of that recipe alone, no champion; `report` fills the same run
    later.
    """
    said = left({"a": (30.0, 10.0), "ab": (20.0, 40.0)})
    (root / "models" / "a" / "seeds" / "0" / "fit.json").write_text(
        '{"loss": 1.0, "tune_miou": 29.0}'
    )
    (root / "models" / "a" / "seeds" / "1" / "fit.json").write_text(
        '{"loss": 2.0, "tune_miou": 31.0}'
    )
    mine = {
        "numbers": {"recipes": {"a": {"shapes": {"miou": 10.0}}}},
        "labels": {"a": said["labels"]["a"]},
    }
    stage = reproduce({"a": (30.0, 10.0)}, end="KILLED", params=PARAMS)
    stage.recipes(**said | mine)
    stage.finish()
    (run,) = runs(stage).values()
    found = {name: run.data.metrics[name] for name in ("miou", "tune_miou", "loss")}
    assert found == {"miou": 10.0, "tune_miou": 30.0, "loss": 1.5}
    assert "registry" not in stage.store.client.get_run(stage.parent).data.tags
    stage.recipes(**said)
    stage.finish()
    assert runs(stage)["a"].info.run_id == run.info.run_id
    assert set(runs(stage)) == {"a", "ab"}
    assert stage.store.client.get_run(stage.parent).data.tags["recipes"] == "a, ab"
    assert "is champion" in stage.store.client.get_run(stage.parent).data.tags["registry"]


def test_the_model_that_pretrain_logged_is_taken_if_its_files_are_the_same(reproduce, left, root):
    left({"a": (30.0, 10.0)})
    first = reproduce({"a": (30.0, 10.0)}, end="KILLED")
    first.model(str(root / "models" / "a"), "a")
    stage = reproduce({"a": (30.0, 10.0)})
    (logged,) = stage.store.client.search_logged_models([stage.store.experiment])
    assert logged.source_run_id == first.run
    assert runs(stage)["a"].outputs.model_outputs[0].model_id == logged.model_id


def test_a_stage_that_stands_alone_makes_no_runs_of_recipes(reproduce, monkeypatch, root, left):
    stage = reproduce({"a": (30.0, 10.0)}, end="KILLED")
    monkeypatch.setattr(stage, "parent", None)
    stage.recipes(**left({"a": (30.0, 10.0)}))
    stage.finish()
    assert {run.data.tags["role"] for run in stage.store.runs("")} == {"reproduction", "stage"}


def test_a_preset_is_not_mixed_with_the_section_of_its_model():
    params = PARAMS | {"recipes.a.preset": "small"}
    assert "settings.hidden" not in recipe_runs.list_settings(params, "a", "segment_mil")


def test_the_digest_is_of_the_test_pictures_and_their_truth_alone(left, root):
    def digest(name="a"):
        return recipe_runs.hash_data(root / "areas" / f"{name}.parquet", root / "pairs")

    left({"a": (1.0, 1.0), "b": (1.0, 1.0)})
    first = digest()
    assert digest("b") == first, "what a model predicts is no part of it"
    table = pq.read_table(root / "pairs" / "00000.parquet")
    for column, same in (("train", True), ("test", False)):
        sha = [
            "other" if split == column else was
            for split, was in zip(
                table["split"].to_pylist(), table["sha256"].to_pylist(), strict=True
            )
        ]
        pq.write_table(
            table.set_column(1, "sha256", pa.array(sha)), root / "pairs" / "00000.parquet"
        )
        assert (digest() == first) is same
    left({"a": (1.0, 1.0)}, truth=51)
    assert digest() != first


def test_without_masks_the_digest_is_of_no_picture(left, root):
    left({"a": (1.0, 1.0)})
    areas = root / "areas" / "a.parquet"
    pq.write_table(pq.read_table(areas).slice(0, 0), areas)
    nothing = hashlib.md5(b"").hexdigest()
    assert recipe_runs.hash_data(areas, root / "pairs") == nothing


def test_long_curves_are_thinned(tmp_path):
    (tmp_path / "seeds" / "0").mkdir(parents=True)
    rows = "".join(f"0,{step},loss,{step}\n" for step in range(5000))
    (tmp_path / "seeds" / "0" / "curve.csv").write_text("seed,step,name,value\n" + rows)
    found = recipe_runs.read_curves(tmp_path)["loss"]
    assert 500 < len(found) <= recipe_runs.POINTS
    assert found[1] == (6, 6.0)


def test_what_is_said_goes_over_the_pipe(left):
    said = json.loads(json.dumps(left({"a": (1.0, 2.0)})))
    assert recipe_runs.RecipeReport(**said).passes_gate
    assert recipe_runs.select_scores(said["numbers"], "a", "shapes") == {
        "tune_miou": 1.0,
        "loss": 1.0,
        "miou": 2.0,
        "shapes@tcl.miou": 1.0,
    }
