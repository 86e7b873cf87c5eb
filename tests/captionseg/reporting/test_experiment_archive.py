"""What is kept of an experiment is what the workspace holds, and nothing is kept of a workspace
that is out of date.
"""

import json

import pytest

from captionseg.records import UserError
from captionseg.reporting.experiment_archive import (
    ROWS,
    Workspace,
    archive_experiment,
    format_scores,
    read_curves,
    select_recipes,
    space_evenly,
    thin,
)
from captionseg.storage.writing import write_json

PARAMS = {
    "seed": 0,
    "recipes": {
        "nouns-mil": {"curation": "nouns", "archive": "nouns"},
        "cocu-use": {
            "curation": "cocu",
            "archive": "nouns",
            "model": "use",
            "settings": {"width": 4},
            "training": {},
        },
        "other-mil": {"curation": "cocu", "archive": "cocu"},
    },
    "about": {"nouns-mil": "The baseline."},
}
SCORE = {"miou": 26.5717, "miou_low": 25.0, "miou_high": 27.5254, "miou_std": 0.1159}


@pytest.fixture
def space(tmp_path) -> Workspace:
    reports = tmp_path / "reports"
    write_json(
        {
            "recipes": {
                name: {"photo_scenes": SCORE, "train": {"loss": 1.0}} for name in PARAMS["recipes"]
            },
            "curation": {"cocu": {"recall": 0.5}},
            "segments": {"per_image": 3.0},
            "data": {"pairs": 5},
            "gate": {"passed": 1},
        },
        reports / "metrics.json",
    )
    for name in PARAMS["recipes"]:
        write_json({"recipe": name, "scores": SCORE}, reports / "recipes" / f"{name}.json")
    (reports / "plots").mkdir()
    rows = [
        f"{name},{seed},{step},{step}.5,{'20.0' if step % 20 == 19 else ''}\n"
        for name in PARAMS["recipes"]
        for seed in (0, 1)
        for step in range(100)
    ]
    (reports / "plots" / "curves.csv").write_text(
        "recipe,seed,step,loss,tune_miou\n" + "".join(rows)
    )
    lock = {
        "stages": {
            "report": {"params": {"params.yaml": {"seed": 0, "recipes": PARAMS["recipes"]}}},
            "pretrain@gone-mil": {"params": {"params.yaml": {"recipes.gone-mil": {}}}},
            "pretrain@cocu-use": {
                "params": {"params.yaml": {"recipes.cocu-use": PARAMS["recipes"]["cocu-use"]}}
            },
        }
    }
    return Workspace(PARAMS, lock, reports)


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_kept(space, tmp_path):
    out = tmp_path / "experiments"
    found = archive_experiment(
        space, "use", "What USE adds.", ["nouns-mil", "cocu-use"], folder=out
    )
    kept = files(out)
    assert set(kept) == {
        f"use/{name}"
        for name in (
            "experiment.json",
            "metrics.json",
            "curves.csv",
            "recipes/nouns-mil.json",
            "recipes/cocu-use.json",
        )
    }
    assert json.loads(kept["use/experiment.json"]) == {
        "name": "use",
        "about": "What USE adds.",
        "recipes": {
            "nouns-mil": {
                "curation": "nouns",
                "archive": "nouns",
                "model": "segment_mil",
                "about": "The baseline.",
                "settings": {},
            },
            "cocu-use": {
                "curation": "cocu",
                "archive": "nouns",
                "model": "use",
                "about": "",
                "settings": {"width": 4},
            },
        },
    }
    order = list(json.loads(kept["use/experiment.json"])["recipes"])
    assert order == [name for name in space.params["recipes"] if name in order]
    assert json.loads(kept["use/metrics.json"]) == found
    assert set(found) == {"recipes", "data", "curation", "segments"}
    assert list(found["recipes"]) == ["nouns-mil", "cocu-use"]
    for name in ("nouns-mil", "cocu-use"):
        assert (
            kept[f"use/recipes/{name}.json"]
            == (space.reports / "recipes" / f"{name}.json").read_bytes()
        )
    rows = kept["use/curves.csv"].decode().splitlines()
    assert rows[0] == "recipe,seed,step,loss,tune_miou"
    assert {row.split(",")[0] for row in rows[1:]} == {"nouns-mil", "cocu-use"}
    assert len(rows) == 1 + 4 * ROWS


def test_the_second_time_gives_the_same_bytes_and_leaves_nothing_of_the_first(space, tmp_path):
    archive_experiment(space, "x", "", ["nouns-mil", "cocu-use"], folder=tmp_path / "a")
    archive_experiment(space, "x", "", ["nouns-mil"], folder=tmp_path / "a")
    archive_experiment(space, "x", "", ["nouns-mil"], folder=tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_run_that_is_cut_off_leaves_what_was_there(space, tmp_path):
    out = tmp_path / "a"
    archive_experiment(space, "x", "", ["nouns-mil"], folder=out)
    before = files(out)
    (space.reports / "recipes" / "other-mil.json").write_text("{")
    with pytest.raises(UserError, match=r"other-mil.json: cannot be read"):
        archive_experiment(space, "x", "", ["nouns-mil", "other-mil"], folder=out)
    assert files(out) == before


def test_reports_that_are_older_than_the_params_are_refused(space, tmp_path):
    recipes = PARAMS["recipes"] | {"new-mil": {"curation": "cocu", "archive": "cocu"}}
    newer = Workspace(PARAMS | {"recipes": recipes}, space.lock, space.reports)
    unscored = Workspace(PARAMS | {"recipes": recipes}, {}, space.reports)
    changed = Workspace(PARAMS | {"seed": 1}, space.lock, space.reports)
    nowhere = Workspace(PARAMS, space.lock, tmp_path / "none")
    for case, recipe, message in (
        (
            newer,
            "new-mil",
            "recipes: changed in params.yaml since stage report ran, so the reports are outdated",
        ),
        (
            unscored,
            "new-mil",
            "recipe new-mil has no score in .*so the reports are older than params.yaml",
        ),
        (changed, "nouns-mil", "^seed: changed in params.yaml since stage report ran"),
        (nowhere, "nouns-mil", r"metrics.json: no such file; run `dvc exp run` first"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            archive_experiment(case, "x", "", [recipe], folder=tmp_path / "out")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "../x", "a b", "a/b"])
def test_a_name_is_a_word(space, tmp_path, name):
    with pytest.raises(UserError, match="is not a valid experiment name"):
        archive_experiment(space, name, "", ["nouns-mil"], folder=tmp_path / "out")


def test_what_an_experiment_is_about():
    assert select_recipes("abcd", "ab", []) == ["c", "d"]
    assert select_recipes("abcd", "ab", ["d", "a"]) == ["d", "a", "c"]
    with pytest.raises(
        UserError, match=r"recipes.x: no such recipe in params.yaml \(valid: a, b\)"
    ):
        select_recipes("ab", "ab", ["x"])
    with pytest.raises(UserError, match="no experiment to keep; name recipes with --recipes"):
        select_recipes("ab", "abc", [])


def test_rows_are_thinned_evenly_and_scores_stay():
    assert space_evenly(range(10), 5) == [0, 2, 4, 7, 9]
    assert space_evenly(range(3), 5) == [0, 1, 2]
    assert space_evenly(range(3), 0) == []
    rows = [["r", "0", str(i), "1.0", "20.0" if i % 25 == 24 else ""] for i in range(1000)]
    kept = thin(rows)
    assert len(kept) == ROWS
    assert [row for row in rows if row[-1]] == [row for row in kept if row[-1]]
    steps = [int(row[2]) for row in kept]
    assert steps == sorted(steps)
    short = rows[:30]
    assert thin(short) == short
    assert len(thin([[*row[:-1], "1.0"] for row in rows])) == ROWS


def test_without_curves_there_are_no_rows(tmp_path):
    assert read_curves(tmp_path / "none.csv", ["a"]) == (
        ["recipe", "seed", "step", "loss", "tune_miou"],
        [],
    )


def test_the_table_for_a_terminal():
    found = {"recipes": {"a-mil": {"photo_scenes": SCORE, "train": {"loss": 1.0}}}}
    assert format_scores(found) == [
        "recipe  benchmark     mIoU  95 % interval    sd",
        "a-mil   photo_scenes  26.6   25.0 to 27.5  0.12",
    ]
    found["recipes"]["a-mil"]["photo_scenes"] = {**SCORE, "miou_std": 0.0}  # one seed
    assert format_scores(found)[1].endswith("25.0 to 27.5   -")
