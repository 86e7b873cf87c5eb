"""metrics.json as the contract has it, and the files for plots."""

import csv
import json

from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.tables import round_numbers, summarize_run, write_metrics, write_plots

GATE = {"enough": "recipes.cocu-mil.drawn.miou - recipes.nouns-mil.drawn.miou >= 3"}


def leaves(value):
    return (
        [leaf for v in value.values() for leaf in leaves(v)] if isinstance(value, dict) else [value]
    )


def test_metrics_have_the_keys_of_the_contract_and_numbers_at_the_leaves(recipes, folders):
    found, verdicts = write_metrics(Artifacts(folders, recipes), GATE, measured=None)
    assert list(found) == ["data", "curation", "segments", "recipes", "gate"]
    whose = {name: found["data"].pop(name) for name in ("source", "digest", "masks", "scored")}
    assert whose["masks"] == {"train": 9, "tune": 0, "test": 3}
    # one source row failed
    assert found["data"] == {"pairs": 12, "download_success": round(12 / 13, 4)}
    assert found["curation"]["nouns"]["recall"] == 0.3333
    assert "recall" not in found["curation"]["cocu"]  # it was not measured, and nothing is made up
    measured = {"recall", "named_recall", "text_precision"}
    assert set(found["segments"]) == {
        "per_image",
        "texts_per_segment",
        "full_image_share",
        "captions",
        *measured,
    }
    assert set(found["segments"]["captions"]) == measured
    assert list(found["recipes"]) == list(recipes)
    one = found["recipes"]["cocu-mil"]
    assert one["drawn"]["miou"] == 33.25
    assert set(one["drawn"]) == {
        "miou",
        "miou_low",
        "miou_high",
        "miou_std",
        "miou_object",
        "miou_stuff",
        "pixel_accuracy",
        "over_baseline",
        "over_control",
    }
    # of each class int(miou) % of the pixels are right in every picture: 33, 27 and 29
    assert one["drawn"]["over_baseline"] == {"miou": 6.0, "low": 6.0, "high": 6.0, "better": 1.0}
    assert one["drawn"]["over_control"]["miou"] == 4.0
    assert "over_baseline" not in found["recipes"]["nouns-mil"]["drawn"]
    assert one["train"] == {"loss": 4.0, "tune_miou": 23.0}  # means over seeds, and no durations
    assert found["gate"] == {"passed": 1}
    assert [v.rule.name for v in verdicts] == ["enough"]
    assert all(isinstance(leaf, int | float) for leaf in leaves(found))
    json.dumps(found, allow_nan=False)


def test_what_an_index_missed_is_among_the_numbers(recipes, folders):
    """Where it may have missed anything: see the keys of the contract above."""
    (folders.prepared.index / "recall.json").write_text('{"neighbours_recall": 0.97}')
    try:
        found, _ = write_metrics(Artifacts(folders, recipes), GATE, measured=None)
    finally:
        (folders.prepared.index / "recall.json").unlink()
    assert found["index"] == {"neighbours_recall": 0.97}


def test_retrieval_of_models_of_segments_is_among_the_scores(recipes, folders):
    run = Artifacts(folders, recipes)
    run.scores["cocu-mil"]["scores"]["retrieval"] = {"r1": 20.53, "queries": 151.0}
    found, verdicts = write_metrics(
        run, {"found": "recipes.cocu-mil.drawn.retrieval.r1 >= 20"}, measured=2
    )
    assert found["recipes"]["cocu-mil"]["drawn"]["retrieval"] == {"r1": 20.53, "queries": 151.0}
    assert "retrieval" not in found["recipes"]["nouns-mil"]["drawn"]
    assert [v.passed for v in verdicts] == [True]


def test_precision_of_masks_is_there_for_models_that_read_segments(recipes, folders):
    run = Artifacts(folders, recipes)
    run.scores["cocu-mil"]["scores"] |= {
        "mask_map": 7.5,
        "mask_map_50": 12.0,
        "mask_coverage": 100.0,
    }
    found, _ = write_metrics(run, {}, measured=None)
    assert {
        k: v for k, v in found["recipes"]["cocu-mil"]["drawn"].items() if k.startswith("mask")
    } == {"mask_map": 7.5, "mask_map_50": 12.0, "mask_coverage": 100.0}
    assert not [key for key in found["recipes"]["nouns-mil"]["drawn"] if key.startswith("mask")]


def test_gate_is_missed_when_one_rule_is(recipes, folders):
    found, _ = write_metrics(
        Artifacts(folders, recipes), {**GATE, "more": "segments.per_image > 99"}, measured=2
    )
    assert found["gate"] == {"passed": 0}


def test_whose_data_the_numbers_are_of(folders, recipes, unknown):
    run = Artifacts(folders, recipes)
    mine, theirs = (
        write_metrics(r, {}, measured=None, source="folder", split="test")[0]["data"]
        for r in (run, Artifacts(unknown, recipes))
    )
    assert mine["source"] == theirs["source"] == "folder"
    assert theirs["masks"] == {"train": 0, "tune": 0, "test": 0}
    splits = [run.pairs[uid]["split"] for uid in run.known_classes]
    assert mine["masks"] == {name: splits.count(name) for name in ("train", "tune", "test")}
    assert len(mine["digest"]) == 16
    assert mine["digest"] != theirs["digest"]
    again = write_metrics(Artifacts(run.folders, recipes), {}, measured=None, source="folder")[0][
        "data"
    ]
    assert again == mine


def test_a_gate_of_other_data_holds_on_a_run_without_masks_and_says_so(recipes, unknown):
    name = next(iter(recipes))
    run, gate = (
        Artifacts(unknown, recipes),
        {on: f"recipes.{name}.{on}.miou > 3" for on in ("photo_scenes", "folder")},
    )
    found, verdicts = write_metrics(run, gate, measured=None, source="folder")
    assert [v.skipped for v in verdicts] == [True, True]
    assert found["gate"] == {"passed": 1}
    found, _ = write_metrics(
        run, {"a": "recipes.nobody.folder.miou > 3"}, measured=None, source="folder"
    )
    assert found["gate"] == {"passed": 0}


def test_without_a_truth_what_needs_one_is_left_out(recipes, unknown):
    found, _ = write_metrics(Artifacts(unknown, recipes), {}, measured=None)
    assert set(found["segments"]) == {"per_image", "texts_per_segment", "full_image_share"}
    assert found["recipes"]["cocu-mil"] == {"train": {"loss": 4.0}}
    assert found["gate"] == {"passed": 1}  # a gate without rules holds


def test_rounding_leaves_out_what_json_has_not():
    assert round_numbers({"a": 1 / 3, "b": {"c": float("nan"), "d": 7}}) == {
        "a": 0.3333,
        "b": {"d": 7},
    }


def test_plots_have_a_row_for_each_point(recipes, folders, tmp_path):
    write_plots(Artifacts(folders, recipes), tmp_path)
    read = {
        file.stem: list(csv.DictReader(file.read_text().splitlines()))
        for file in tmp_path.iterdir()
    }
    assert set(read) == {"curves", "miou", "curation"}
    assert len(read["curves"]) == 3 * 2 * 6  # recipes, seeds, steps
    first = [row for row in read["curves"] if row["recipe"] == "nouns-mil" and row["seed"] == "1"]
    assert [row["tune_miou"] for row in first] == [
        "",
        "",
        "20.0",
        "",
        "",
        "21.0",
    ]  # after the last step of each epoch
    assert read["miou"][2] == {
        "recipe": "cocu-mil",
        "miou": "33.25",
        "low": "31.25",
        "high": "35.25",
    }
    assert read["curation"] == [{"rule": "nouns", "recall": "0.3333", "precision": "1.0"}]


def test_dvc_shows_the_miou_of_each_recipe_and_the_best_on_the_tune_split(
    recipes, folders, unknown
):
    run = Artifacts(folders, recipes)
    numbers, _ = write_metrics(run, {}, measured=None)
    summary = summarize_run(run, numbers, {"miou": 79.5, "pixel_accuracy": 95.0})
    assert summary == {
        "champion": "cocu-mil",
        "miou": {"nouns-mil": 27.0, "cocu_control-mil": 29.5, "cocu-mil": 33.25},
        "ceiling": 79.5,
    }
    nothing = Artifacts(unknown, recipes)
    assert summarize_run(nothing, write_metrics(nothing, {}, measured=None)[0], {}) == {}
