"""Rules of experiments on other data beside the default run."""

from captionseg.gate.data import RunData
from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.document import Table, Text
from captionseg.reporting.comparison.other_data import build_other_data
from captionseg.reporting.comparison.results import Run
from captionseg.reporting.rendering import DASH

SCENES, FLICKR = RunData("photo_scenes", "aaaa"), RunData("table", "bbbb")
CURATION = {
    "nouns": {
        "held_out": {"precision_at_4": 0.0, "sampled_precision": 1.0, "sampled_recall": 0.45}
    },
    "cocu": {
        "held_out": {
            "precision_at_4": 0.1277,
            "precision_at_4_low": 0.12,
            "precision_at_4_high": 0.135,
        }
    },
    "captions": {"kept": 1.0},
}


def run(name, data, curation):
    return Run(name, f"About {name}.", {}, [], {}, data=data, curation=curation)


def test_a_table_for_each_experiment_on_other_data_with_held_out_captions():
    runs = [
        run("", SCENES, CURATION),
        run("ablation", SCENES, CURATION),
        run("flickr8k", FLICKR, CURATION),
        run("other", RunData("folder", "cccc"), {"nouns": {"kept": 1.0}}),
    ]
    note, table = build_other_data(Comparison.of_same_data(runs))
    assert isinstance(note, Text)
    assert isinstance(table, Table)
    assert table.caption == "flickr8k: About flickr8k."
    cells = [[cell.text for cell in row.cells] for row in table.rows]
    assert cells == [["nouns", DASH, DASH, "1.000", "0.450"], ["cocu", "0.128", DASH, DASH, DASH]]
    assert table.rows[1].cells[1].more == "0.120 \N{EN DASH} 0.135"


def test_nothing_where_no_experiment_has_other_data():
    runs = [run("", SCENES, CURATION), run("ablation", SCENES, CURATION)]
    assert build_other_data(Comparison.of_same_data(runs)) == []
