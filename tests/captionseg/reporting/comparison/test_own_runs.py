"""Our own tables: scores by run, classes, convergence."""

from dataclasses import replace

import pytest

from captionseg.reporting.comparison import own_runs, score_tables
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.document import Table
from captionseg.reporting.comparison.results import Difference
from captionseg.reporting.comparison.score_files import read
from captionseg.reporting.rendering import DASH


@pytest.fixture
def data(reports, recipes):
    return Comparison(read(reports, recipes))


def tables(blocks):
    return {block.caption: block for block in blocks if isinstance(block, Table)}


def texts(row):
    return [cell.text for cell in row.cells]


def test_each_run_has_a_table_and_both_protocols_stand_in_it(data):
    found = tables(score_tables.build_scores(data))
    assert list(found) == [
        "The default run",
        "Experiment ablation: About ablation.",
        "Experiment groups: About groups.",
        "Classification, parts and masks: scores other than mIoU",
    ]
    rows = found["The default run"].rows
    assert texts(rows[0]) == [
        "nouns-mil",
        "own",
        "its own",
        "20.0",
        "0.50",
        "40.0",
        "30.0",
        DASH,
        DASH,
    ]
    assert texts(rows[3]) == [
        "cocu-mil",
        "own",
        "its own",
        "23.5",
        "0.50",
        "40.0",
        DASH,
        "+3.5",
        "+1.5",
    ]
    assert texts(rows[4])[:4] == ["cocu-mil", "own", "tcl", "26.0"]
    assert rows[4].cells[2].more == "prompts tcl, refine pamr, skipped: windows"
    assert rows[3].cells[3].more == "22.5 \N{EN DASH} 24.5"
    assert texts(rows[5])[:4] == ["cocu-mil", "Pascal VOC 2012", "its own", "12.5"]
    assert [row.cells[0].more for row in rows[:2]] == ["The baseline.", ""]  # said once


def test_the_highest_of_a_benchmark_and_protocol_is_marked(data):
    rows = tables(score_tables.build_scores(data))["The default run"].rows
    assert [row.cells[3].text for row in rows if row.cells[3].kind == "best"] == [
        "23.5",
        "26.0",
        "12.5",
    ]


def test_signs_of_gains():
    assert score_tables.format_gain(None).text == DASH
    assert (
        score_tables.format_gain(Difference("a", -1.26)).text,
        score_tables.format_gain(Difference("a", -1.26)).kind,
    ) == ("\N{MINUS SIGN}1.3", "down")


def test_other_scores_have_a_table_of_their_own(data):
    table = tables(score_tables.build_scores(data))[
        "Classification, parts and masks: scores other than mIoU"
    ]
    assert list(table.head) == ["recipe", "benchmark", "protocol", "acc@1", "acc@5"]
    assert [texts(row) for row in table.rows] == [
        ["cocu-mil", "ImageNet-1k", "its own", "2.5", "7.2"]
    ]


def test_best_and_worst_classes(data):
    (table,) = own_runs.build_classes(data)
    row = next(row for row in table.rows if row.cells[0].text == "cocu-mil")
    assert [cell.text.replace("\N{NO-BREAK SPACE}", " ") for cell in row.cells] == [
        "cocu-mil",
        "own",
        "cat 23.5, dog 0.2",
        "dog 0.2, cat 23.5",
        "1 of 2",
    ]


def test_curves_are_of_recipes_that_are_no_controls_and_not_the_same_again(data):
    assert list(own_runs.select_curves(data, data.runs[0])) == ["nouns-mil", "cocu-mil"]
    assert list(own_runs.select_curves(data, data.runs[1])) == [
        "nouns-mil",
        "cocu_naive-mil",
        "cocu-mil",
    ]
    same = Comparison([data.runs[0], replace(data.runs[0], name="again")])
    assert own_runs.select_curves(same, same.runs[1]) == {}


def test_convergence_says_when_the_baseline_is_reached(data):
    table = own_runs.build_convergence(data.runs[0], own_runs.select_curves(data, data.runs[0]))
    # losses 9 - step + seed, mean over seeds 9.5 .. 6.5; tune 20 + step and 30 + step after steps 1
    # and 3
    assert [texts(row) for row in table.rows] == [
        ["nouns-mil", "9.50", "6.50", "21.0", "23.0", DASH],
        ["cocu-mil", "9.50", "6.50", "31.0", "33.0", "2"],
    ]
    assert table.rows[1].cells[5].more == "of 4; nouns-mil ends at 23.0"


def test_what_was_compared(data, least, recipes):
    first, more = own_runs.describe_comparison(data)
    assert first.parts[0].startswith(
        "6 recipes, trained on the training split of "
        "3,600 captioned pictures (own) without masks, each with 2 seeds, scored on the "
        "test split and on ImageNet-1k, Pascal VOC 2012"
    )
    assert "ablation, groups. Protocols besides each recipe's own: tcl." in more.parts[0]
    empty = own_runs.describe_comparison(Comparison(read(least, recipes)))
    assert "No experiment on these data was kept" in empty[1].parts[0]


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        ({}, ""),
        (
            {"prompts": "simple", "refine": "none", "masks": "regions", "windows": None},
            "prompts simple",
        ),
        (
            {"windows": {"short_side": 448, "crop": 448, "stride": 224, "batch": 8}},
            "windows 448, 448, 224",
        ),
        ({"background": {"policy": "none", "score": None}}, ""),
        ({"background": {"policy": "word"}}, "background by word"),
    ],
)
def test_a_protocol_in_a_few_words(protocol, words):
    assert score_tables.describe_protocol(protocol) == words
