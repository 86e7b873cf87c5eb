"""Which runs may be compared."""

import json

from captionseg.reporting.comparison.comparison import Comparison
from captionseg.reporting.comparison.comparison_page import Outputs, compare
from captionseg.reporting.comparison.score_files import read

FOLDER = {
    "source": "folder",
    "digest": "aaaa",
    "pairs": 300,
    "masks": {"train": 0, "tune": 0, "test": 0},
}


def test_experiments_of_other_data_are_left_out_and_named(reports, recipes, tmp_path):
    """A run on a folder without masks, in a checkout that has the committed experiments."""
    metrics = {"data": FOLDER, "recipes": {name: {"train": {"loss": 1.0}} for name in recipes}}
    reports.metrics.write_text(json.dumps(metrics))
    for name, data in (
        ("ablation", {"source": "photo_scenes"}),
        ("groups", {"source": "folder", "digest": "bbbb"}),
    ):
        file = reports.experiments / name / "metrics.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "data": data}))
    voc = reports.benchmarks / "cocu-mil" / "voc.json"
    voc.write_text(json.dumps({**json.loads(voc.read_text()), "data": {"source": "photo_scenes"}}))
    data = Comparison.of_same_data(read(reports, recipes))
    assert [run.name for run in data.runs] == [""]
    assert [run.name for run in data.others] == ["ablation", "groups"]
    assert data.of("cocu-mil", "voc") is None
    out = Outputs(tmp_path / "c.md", tmp_path / "c.html", tmp_path / "c")
    assert compare(reports, out, recipes=recipes)["experiments"] == 0
    text = out.markdown.read_text().replace("\\", "")
    assert (
        "3 recipes, trained on the training split of 300 captioned pictures (folder, digest aaaa)"
        in text
    )
    assert "not scored: no picture of the test split has a mask" in text
    assert (
        "No recipe was scored: no picture of the test split has a mask. Trained: nouns-mil, cocu"
        in text
    )
    assert "because they use other data: ablation (photo_scenes), groups (folder bbbb)" in text
    assert "photo scenes" not in text
    assert "Every mIoU" not in text
    assert "scored by its own protocol" not in text
    assert "dvc repro scores" not in text.replace("`", "")


def test_an_experiment_of_the_same_data_stays(reports, recipes):
    for file in (reports.metrics, *reports.experiments.glob("*/metrics.json")):
        file.write_text(
            json.dumps(
                {**json.loads(file.read_text()), "data": {"source": "folder", "digest": "aaaa"}}
            )
        )
    data = Comparison.of_same_data(read(reports, recipes))
    assert [run.name for run in data.runs] == ["", "ablation", "groups"]
    assert not data.others
