"""The whole page: the same bytes twice, nothing that leads nowhere, files for plots."""

import csv
import json
import re
import shutil

import pytest
from PIL import Image

from captionseg.records import UserError
from captionseg.reporting.comparison import comparison_page as module
from captionseg.reporting.comparison.comparison_page import Outputs, compare
from tests.captionseg.reporting.test_report import Page, files

SUFFIXES = ("", "_dark", "_narrow", "_narrow_dark")


@pytest.fixture
def no_charts(monkeypatch):
    """Empty pictures in place of charts, which take seconds."""

    def draw(path, *rest):
        for suffix in SUFFIXES:
            Image.new("RGB", (60, 30)).save(path.with_name(f"{path.name}{suffix}.png"))
        return {name: {"width": 60, "height": 30} for name in ("wide", "narrow")}

    monkeypatch.setattr(module, "draw_curves", draw)
    monkeypatch.setattr(module, "draw_recipes", draw)


def outputs(root):
    return Outputs(root / "comparison.md", root / "comparison.html", root / "comparison")


def test_two_runs_leave_the_same_bytes(reports, recipes, tmp_path):
    shutil.rmtree(reports.experiments / "groups")
    compare(reports, outputs(tmp_path / "one"), recipes=recipes)
    compare(reports, outputs(tmp_path / "two"), recipes=recipes)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert list(one) == list(two)
    assert [name for name in one if one[name] != two[name]] == []
    assert one["comparison/curves.png"] != one["comparison/curves_dark.png"]


@pytest.mark.usefixtures("no_charts")
def test_nothing_leads_nowhere(reports, recipes):
    root = reports.metrics.parent
    counts = compare(reports, outputs(root), recipes=recipes)
    page = Page(root / "comparison.html")
    assert page.open == []
    assert [source for source in page.sources if not (root / source).is_file()] == []
    page.check_narrow_screens(root)
    assert {"scores", "papers", "classes", "convergence", "pictures", "again"} == set(page.ids)
    assert [link for link in page.links if link.startswith("#") and link[1:] not in page.ids] == []
    assert "<script" not in (root / "comparison.html").read_text()
    assert {name: value for name, value in counts.items() if name != "not_run"} == {
        "results": 11,
        "experiments": 2,
        "benchmarks": 3,
        "gain": {
            "cocu_control-mil": 2.0,
            "cocu-mil": 3.5,
            "cocu_naive-mil": 1.5,
            "cocu-mil (ablation)": 3.25,
            "cocu-groupvit": -1.0,
        },
        "ablation": {"nouns-mil": 20.0, "cocu_naive-mil": 21.5, "cocu-mil": 23.25},
    }
    assert counts["not_run"] > 0
    charts = ("recipes", "curves", "curves_ablation", "curves_groups")
    drawn = {f"comparison/{name}{suffix}.png" for name in charts for suffix in SUFFIXES}
    assert set(page.sources) == drawn | {"pictures/overlays.jpg"}


@pytest.mark.usefixtures("no_charts")
def test_markdown_and_html_have_the_same_tables(reports, recipes):
    root = reports.metrics.parent
    compare(reports, outputs(root), recipes=recipes)
    text, page = (root / "comparison.md").read_text(), (root / "comparison.html").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    rules = [line for line in rows if set(line) <= set("| -:")]
    assert len(rules) == page.count("<table>")
    assert len(rows) - len(rules) == page.count("<tr")
    assert [len(re.split(r"(?<!\\)\|", line)) for line in rows] == [
        count
        for line in page.split("<table>")[1:]
        for count in [len(re.findall('<th scope="col"', line)) + 2]
        * (line.split("</table>")[0].count("<tr") + 1)
    ]
    assert "*51.4*" in text
    assert "heat maps of concepts" in text.lower()


def test_a_run_without_anything_makes_a_page(least, recipes):
    root = least.metrics.parent
    compare(least, outputs(root), recipes=recipes)
    text = " ".join(Page(root / "comparison.html").text)
    assert "No recipe was scored" in text
    assert "No curves were kept" in text
    assert "not run" in text


@pytest.mark.usefixtures("no_charts")
def test_names_of_others_are_shown_as_they_stand(reports, recipes):
    name = "<script>|x"
    folder = reports.experiments / name
    (reports.experiments / "groups").rename(folder)
    said = json.loads((folder / "experiment.json").read_text())
    (folder / "experiment.json").write_text(
        json.dumps(said | {"about": "<b>bold</b> | *x*\nsecond"})
    )
    root = reports.metrics.parent
    compare(reports, outputs(root), recipes=recipes)
    page = (root / "comparison.html").read_text()
    assert "<script" not in page
    assert "<b>bold" not in page
    assert "Experiment &lt;script&gt;|x: &lt;b&gt;bold" in page
    assert (
        r"Experiment \<script\>\|x: \<b\>bold\</b\> \| \*x\* second"
        in (root / "comparison.md").read_text()
    )
    assert (root / "comparison" / "curves__script__x.png").is_file()


def test_nothing_is_written_of_broken_reports(reports, recipes, tmp_path):
    (reports.recipes / "cocu-mil.json").write_text("{")
    with pytest.raises(UserError, match=r"cocu-mil\.json: not JSON"):
        compare(reports, outputs(tmp_path / "out"), recipes=recipes)
    assert not (tmp_path / "out").exists()


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.usefixtures("no_charts")
def test_files_for_plots(reports, recipes):
    root = reports.metrics.parent
    compare(reports, outputs(root), recipes=recipes)
    folder = root / "comparison"
    gains = rows(folder / "differences.csv")
    assert gains[1] == {
        "recipe": "cocu-mil",
        "over": "nouns-mil",
        "difference": "3.5",
        "low": "2.25",
        "high": "4.5",
    }
    # without an interval, not with one of no width
    assert [gains[-1][key] for key in ("over", "low", "high")] == ["nouns-groupvit", "", ""]
    assert rows(folder / "ablation.csv") == [
        {
            "recipe": "Baseline (GroupViT): nouns-mil",
            "miou": "20.0",
            "low": "19.0",
            "high": "21.0",
            "theirs": "8.2",
        },
        {
            "recipe": "#2: cocu_naive-mil",
            "miou": "21.5",
            "low": "20.5",
            "high": "22.5",
            "theirs": "10.3",
        },
        {
            "recipe": "#4 (full CoCu): cocu-mil",
            "miou": "23.25",
            "low": "22.25",
            "high": "24.25",
            "theirs": "13.1",
        },
    ]
    scores = rows(folder / "scores.csv")
    assert len({row["name"] for row in scores}) == len(scores) == 10  # all but the one without mIoU
    assert scores[0] == {
        "name": "nouns-mil",
        "run": "default",
        "recipe": "nouns-mil",
        "benchmark": "own",
        "protocol": "own",
        "miou": "20.0",
        "low": "19.0",
        "high": "21.0",
        "sd": "0.5",
        "pixel_accuracy": "40.0",
        "boundary_f": "30.0",
    }
