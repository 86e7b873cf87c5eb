"""CoCu's Table 2 on our own pictures: sizes of other data in a table of their own."""

from pathlib import Path

from captionseg.experiments import read_experiment
from captionseg.gate.data import RunData
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.data_sizes import RECIPES, SIZES, SOURCE, build_data_sizes
from captionseg.reporting.comparison.document import Listing, Table
from captionseg.reporting.comparison.paper_tables import build_blocks
from captionseg.reporting.comparison.results import OWN, Difference, Result, Run
from captionseg.reporting.rendering import DASH

ROOT = Path(__file__).parents[4]


def scored(run, recipe, miou, gain=None, protocol=OWN):
    numbers = {"miou": miou, "miou_low": miou - 1, "miou_high": miou + 1, "miou_std": 0.25}
    baseline = None if gain is None else Difference("nouns-mil", gain)
    seeds = dict.fromkeys("012", miou)
    return Result(run, recipe, SOURCE, protocol, numbers, seeds=seeds, baseline=baseline)


def run(name, digest, train, *results, source=SOURCE):
    data = RunData(source, digest, {"train": train, "tune": 300, "test": 300})
    return Run(name, f"About {name}.", {}, list(results), {}, home=SOURCE, data=data)


def make(*others):
    default = run(
        "",
        "aaaa",
        3000,
        scored("", "nouns-mil", 23.0),
        scored("", "cocu-mil", 26.5, 3.5),
        scored("", "cocu-mil", 99.0, protocol="tcl"),
        scored("", "cocu_control-mil", 25.0, 2.0),
    )
    return Comparison.of_same_data([default, *others])


def texts(table):
    return [[cell.text for cell in row.cells] for row in table.rows]


def test_sizes_are_in_order_with_what_each_gains_over_its_own_baseline():
    half = run("scenes_half", "bbbb", 1500, scored("scenes_half", "nouns-mil", 18.0))
    quarter = run("scenes_quarter", "cccc", 750, scored("scenes_quarter", "cocu-mil", 14.0, -0.5))
    table, note = build_data_sizes(make(half, quarter))
    assert isinstance(table, Table)
    assert texts(table) == [
        ["750", "scenes_quarter", "cocu-mil", "14.0", "0.25", "\N{MINUS SIGN}0.5"],
        ["1,500", "scenes_half", "nouns-mil", "18.0", "0.25", DASH],
        ["3,000", "the default run", "nouns-mil", "23.0", "0.25", DASH],
        ["3,000", "the default run", "cocu-mil", "26.5", "0.25", "+3.5"],
    ]
    assert table.rows[0].cells[3].more == "13.0 \N{EN DASH} 15.0"
    assert "other data" in note.parts[0]


def test_what_is_no_size_of_these_pictures_is_in_no_row_and_commands_fill_what_is_absent():
    other = run("flickr8k", "dddd", 10, scored("flickr8k", "nouns-mil", 50.0))
    folder = run("scenes_half", "eeee", 20, scored("x", "nouns-mil", 60.0), source="folder")
    table, _, _, commands = build_data_sizes(make(other, folder))
    assert {row[0] for row in texts(table)} == {"3,000"}
    assert isinstance(commands, Listing)
    assert commands.text.splitlines() == [f"make experiment NAME={name}" for name in SIZES]
    assert build_data_sizes(Comparison([run("", "aaaa", 30, source="folder")])) == []


def test_the_table_stands_below_the_one_of_the_paper():
    blocks, _ = build_blocks(make())
    captions = [block.caption for block in blocks if isinstance(block, Table)]
    place = next(i for i, text in enumerate(captions) if "on our own pictures" in text)
    assert captions[place - 1].startswith("CoCu, Table 2: pre-training data")
    assert captions[place + 1].startswith("CoCu, Table 3")


def test_the_experiments_change_the_number_of_these_pictures_and_keep_these_recipes():
    for name in SIZES:
        experiment = read_experiment(ROOT / "experiments" / f"{name}.yaml")
        assert experiment.params["download"] == {
            SOURCE: {"train": experiment.params["download"][SOURCE]["train"]}
        }
        assert set(RECIPES) <= set(experiment.recipes)
