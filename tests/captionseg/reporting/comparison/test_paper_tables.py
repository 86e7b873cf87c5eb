"""The papers' tables with our numbers: which cell holds what, and what is said where nothing was
run.
"""

import json
from pathlib import Path

import pytest

from captionseg.experiments import read_experiment
from captionseg.reporting.comparison import columns, paper_tables, papers, row_recipes
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.paper_tables import (
    Missing,
    build_paired_table,
    build_stacked_table,
    list_commands,
)
from captionseg.reporting.comparison.score_files import read
from captionseg.reporting.rendering import DASH
from tests.captionseg.reporting.comparison.conftest import experiment

ROOT = Path(__file__).parents[4]
TABLES = {table.file: table for table in papers.TABLES}


@pytest.fixture
def data(reports, recipes):
    return Comparison(read(reports, recipes))


def texts(row):
    return [cell.text for cell in row.cells]


def ours(table):
    return {row.cells[0].text: row for row in table.rows if row.cells[1].text == "ours"}


def test_their_rows_come_first_and_are_marked_and_have_none_of_our_numbers(data):
    table, _ = build_stacked_table(TABLES["cocu_1"], data)
    assert table.head == [
        "method",
        "source",
        "VOC",
        "Context",
        "COCO-Object",
        "ImageNet-S-50",
        "ImageNet-S-300",
        "Cityscapes",
        "ADE20K",
        "COCO-Stuff",
        "average",
        "own (ours)",
    ]
    marks = [row.theirs for row in table.rows]
    assert marks == [True] * 12 + [False] * (len(marks) - 12)
    assert [row.theirs for row in table.rows] == [
        row.cells[1].text == "paper" for row in table.rows
    ]
    assert texts(table.rows[9]) == [
        "CoCu",
        "paper",
        "49.7",
        "22.8",
        "22.0",
        "46.7",
        "24.7",
        "21.9",
        "12.0",
        "14.9",
        "26.8",
        DASH,
    ]
    assert (
        table.rows[11].cells[0].more == "C3, C12, Y14; text; local consistency; batch 1024; ViT-S"
    )


def test_our_rows_have_published_benchmarks_and_our_own_pictures(data):
    table, missing = build_stacked_table(TABLES["cocu_1"], data)
    found = ours(table)
    assert texts(found["cocu-mil"]) == ["cocu-mil", "ours", "12.5", *["not run"] * 7, DASH, "23.5"]
    assert found["cocu-mil"].cells[2].more == "11.5 \N{EN DASH} 13.5"
    assert texts(found["cocu-mil, tcl"]) == ["cocu-mil, tcl", "ours", *[DASH] * 9, "26.0"]
    assert texts(found["none-maskclip"])[2:] == [*["not run"] * 8, DASH, "not run"]
    assert found["nouns-groupvit"].cells[-1].text == "18.0"
    assert Missing("cocu-mil", "voc") not in missing
    assert Missing("cocu-mil", "context") in missing
    assert Missing("none-maskclip", columns.HOME) in missing


def test_an_average_is_given_where_every_benchmark_was_scored(reports, recipes, data):
    assert (
        ours(build_stacked_table(TABLES["ovsegmentor_1"], data)[0])["cocu-ovsegmentor"]
        .cells[2]
        .text
        == "not run"
    )
    folder = reports.benchmarks / "cocu-mil"
    for number, name in enumerate(("context", "coco_object", "coco_stuff", "cityscapes", "ade20k")):
        (folder / f"{name}.json").write_text(f'{{"scores": {{"miou": {20.04 + number}}}}}')
    table, missing = build_stacked_table(TABLES["code_1"], Comparison(read(reports, recipes)))
    row = texts(ours(table)["cocu-mil"])
    assert row[2:8] == [
        "12.5",
        "20.0",
        "21.0",
        "22.0",
        "23.0",
        "24.0",
    ]  # VOC first, in the paper's order
    # (12.5 + 110.2) / 6 = 20.45: the mean of numbers, not of what is shown (20.42)
    assert row[8] == "20.4"
    assert not [m for m in missing if m.recipe == "cocu-mil"]


def test_an_ablation_pairs_their_rows_with_our_recipes_in_columns_of_their_own(data):
    table, missing = build_paired_table(TABLES["cocu_3"], data)
    assert [table.head[i] for i in sorted(table.theirs)] == ["average (paper)", "gain (paper)"]
    assert table.head[-3:] == ["our recipe", "own (ours)", "gain (ours)"]
    assert [texts(row)[-5:] for row in table.rows] == [
        ["8.2", DASH, "nouns-mil", "20.0", DASH],
        ["9.9", "1.7", "caption_retrieval-mil", "not run", "not run"],
        ["10.3", "2.1", "cocu_naive-mil", "21.5", "+1.5"],
        ["12.4", "4.2", "cocu_ranked-mil", "not run", "not run"],
        # of the ablation's own run, not of the default one
        ["13.1", "4.9", "cocu-mil", "23.2", "+3.2"],
    ]
    assert set(missing) == {Missing("caption_retrieval-mil", ""), Missing("cocu_ranked-mil", "")}
    assert list_commands(missing) == (
        "make experiment NAME=ablation  # caption_retrieval-mil, cocu_ranked-mil"
    )


def test_classification_and_seen_classes_have_columns(data):
    acc = ours(build_stacked_table(TABLES["cocu_4"], data)[0])
    assert texts(acc["cocu-mil"]) == ["cocu-mil", "ours", "2.5", "7.2", "not run", "not run"]
    assert acc["cocu-mil"].cells[2].more == "2.2 \N{EN DASH} 2.8"
    assert "cocu-mil, tcl" not in acc  # nothing of it would be shown
    seen, missing = build_stacked_table(TABLES["ovsegmentor_7"], data)
    assert texts(ours(seen)["cocu-mil"])[2:] == [*[DASH] * 8, "24.0", "11.0"]
    assert texts(ours(seen)["nouns-mil"])[2:] == [DASH] * 10  # scored, without unseen classes
    assert {m.benchmark for m in missing} == {columns.HOME}  # no command would fill the others


def test_parts_are_classes_of_their_benchmark(reports, recipes):
    folder = reports.benchmarks / "cocu-use"
    folder.mkdir()
    (folder / "part_imagenet.json").write_text(
        '{"scores": {"map": 6.25}, "per_class": {"quadruped head": 8.75}}'
    )
    table, missing = build_stacked_table(TABLES["use_3"], Comparison(read(reports, recipes)))
    assert texts(ours(table)["cocu-use"])[2:] == ["6.2", "8.8", DASH, DASH, DASH, *["not run"] * 3]
    assert texts(ours(table)["segments-use"])[2:] == ["not run"] * 8
    assert [m for m in missing if m.recipe == "cocu-use"] == [Missing("cocu-use", columns.HOME)] * 3


def test_several_classes_have_the_mean_of_a_score_of_all_and_no_number_if_one_lacks(
    reports, recipes
):
    folder = reports.benchmarks / "entities-ovsegmentor"
    folder.mkdir()
    five = {"plant": 10.0, "sheep": 20.0, "sofa": 30.0, "train": 40.0, "monitor": 55.0}
    for name, classes in (("voc", five | {"cat": 99.0}), ("context", {"cow": 10.0, "cat": 20.0})):
        details = {"scores": {"miou": 90.0}, "per_class": classes}
        (folder / f"{name}.json").write_text(json.dumps(details))
    table, missing = build_stacked_table(
        TABLES["ovsegmentor_2"], Comparison(read(reports, recipes))
    )
    # (10 + 20 + 30 + 40 + 55) / 5
    assert texts(ours(table)["entities-ovsegmentor"])[2:] == ["31.0", DASH]
    assert texts(ours(table)["cocu-ovsegmentor"])[2:] == ["not run", "not run"]
    assert Missing("cocu-ovsegmentor", "voc") in missing
    assert table.rows[0].cells[0].more == "masks of seen classes"


def test_all_rows_of_an_ablation_are_of_its_own_experiment(reports, recipes):
    """Others may have run the same recipe with older code."""
    names = row_recipes.AGREEMENTS
    for run, mious in (("groups", (19.0,)), ("ovsegmentor_consistency", (21.0, 20.0))):
        models = dict.fromkeys(names[: len(mious)], ("entities", "ovsegmentor"))
        experiment(reports.metrics.parent, run, models, dict(zip(names, mious, strict=False)))
    table, _ = build_paired_table(TABLES["ovsegmentor_6"], Comparison(read(reports, recipes)))
    assert [row.cells[-1].text for row in table.rows] == ["21.0", "20.0"]
    for paper in papers.TABLES:
        if paper.pairs:
            ran = read_experiment(ROOT / "experiments" / f"{paper.run}.yaml")
            assert set(paper.recipes) <= {*ran.recipes, *ran.params["recipes"]}, paper.file


def test_every_recipe_that_a_table_asks_for_is_run_by_the_experiment_that_is_named():
    for name, recipes in row_recipes.EXPERIMENTS.items():
        params = read_experiment(ROOT / "experiments" / f"{name}.yaml").params
        assert set(recipes) <= set(params["recipes"]), name
    lines = list_commands([Missing("nouns_whole-code", ""), Missing("nouns_plain-code", "")])
    assert lines == "make experiment NAME=code_parts  # nouns_whole-code, nouns_plain-code"


def test_commands_are_given_once_and_say_what_to_run():
    missing = [
        Missing("cocu-mil", "voc"),
        Missing("nouns-groupvit", ""),
        Missing("cocu-groupvit", ""),
        Missing("cocu-mil", "voc"),
    ]
    assert list_commands(missing).splitlines() == [
        "make experiment NAME=groups  # nouns-groupvit, cocu-groupvit",
        "captionseg evaluate --recipe cocu-mil --benchmark voc --root /data",
    ]
    own = list_commands([Missing("cocu-mil", "largest_object")] * 2 + [Missing("b", "voc")])
    assert own.splitlines() == [
        "captionseg evaluate --recipe cocu-mil --benchmark largest_object",
        "captionseg evaluate --recipe b --benchmark voc --root /data",
    ]
    loop = list_commands([Missing("a", "voc"), Missing("b", "voc"), Missing("b", "context")])
    assert loop.splitlines() == [
        "for r in a b; do",
        "  for b in voc context; do captionseg evaluate --recipe $r --benchmark $b --root /data; "
        "done",
        "done",
    ]


def test_every_table_is_made_of_nothing_too(least, recipes):
    blocks, gaps = paper_tables.build_blocks(Comparison(read(least, recipes)))
    assert len([b for b in blocks if hasattr(b, "rows")]) == len(papers.TABLES)
    assert {m.recipe for m in gaps} == set(row_recipes.COMMANDS)
