"""The whole report: the same bytes twice, a page that opens, for runs with and without a truth."""

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from captionseg.benchmarks.params import EvaluateParams
from captionseg.reporting import report
from captionseg.reporting.page import find_champion, find_extremes, list_remarks
from captionseg.reporting.params import ReportParams
from captionseg.reporting.report import Outputs, write_report
from captionseg.storage.writing import write_json

VOID = {"meta", "img", "br", "wbr", "source", "link", "hr", "input"}
GATE = {"cocu beats nouns": "recipes.cocu-mil.drawn.miou - recipes.nouns-mil.drawn.miou >= 3"}


class Page(HTMLParser):
    """Tags that are opened and closed in order; what they point at; their text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.sources, self.text, self.ids, self.links = [], [], [], [], []
        self.pictures, self.cells, self.outside = [], [], []
        self.body = path.read_text(encoding="utf-8")
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.sources += [found[k] for k in ("src", "srcset") if k in found]
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        for key in {"img": ["src"], "source": ["srcset"]}.get(tag, []):
            self.pictures.append((found[key], found.get("width"), found.get("height")))
        if tag == "tr":
            self.cells.append([])
        if tag == "td":
            self.cells[-1].append(found)
        if tag == "table" and "div" not in self.open[-1:]:
            self.outside.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def check_narrow_screens(self, root: Path) -> None:
        """Links land where they should, as every picture has its size before it is loaded; and
        nothing is wider than a narrow screen: pictures shrink, and a row of a table becomes a
        block, in which a value stands under its column's name.
        """
        for file, width, height in self.pictures:
            with Image.open(root / file) as picture:
                assert (str(picture.width), str(picture.height)) == (width, height), file
        style = self.body.split("<style>")[1].split("</style>")[0]
        assert "img { display: block; max-width: 100%; height: auto;" in style
        narrow = style[style.index("/* Narrow screens") :]
        assert ".table td, .table caption, .table tbody th { display: block; }" in narrow
        assert "attr(data-label)" in narrow
        assert "pre { white-space: pre-wrap;" in narrow
        assert self.outside == [], "tables outside of their container"
        unnamed = [
            cell
            for row in self.cells
            for cell in row[0 if "<tbody>" in self.body else 1 :]
            if not cell.get("data-label") and cell.get("class") not in ("none", "text bars-cell")
        ]
        allowed = [cell for cell in unnamed if cell == {"class": "text"}]  # of no reason
        assert len(unnamed) == len(allowed), unnamed
        assert not re.search(r'style="[^"]*(min-)?width: *[0-9.]+(px|rem|em)', self.body)


def outputs(root: Path) -> Outputs:
    return Outputs(
        root / "metrics.json",
        root / "summary.json",
        root / "plots",
        root / "pictures",
        root / "index.html",
        root / "data.html",
    )


def write(folders, root, recipes, *, params=None, gate=GATE, seed=0):
    write_report(
        folders,
        outputs(root),
        params or ReportParams(),
        recipes=recipes,
        gate=gate,
        scored=EvaluateParams(bootstrap=50),
        seed=seed,
    )
    page, data = Page(root / "index.html"), Page(root / "data.html")
    assert page.open == data.open == []
    assert "data.html" in page.links
    assert "index.html" in data.links
    assert [link for link in data.links if link.startswith("#") and link[1:] not in data.ids] == []
    for one in (page, data):
        one.check_narrow_screens(root)
    page.sources += data.sources
    assert page.sources
    assert [source for source in page.sources if not (root / source).is_file()] == []
    assert [link for link in page.links if link.startswith("#") and link[1:] not in page.ids] == []
    return page


def files(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, tuple[Path, dict]]:
    """Folders of charts and their sizes, by what they show."""
    return {}


@pytest.fixture
def charts_once(drawn, tmp_path_factory, monkeypatch) -> None:
    """Charts of the same numbers are drawn once and copied: they take longer than all the rest, and
    that equal numbers make equal charts is a test of its own.
    """

    whole = report.draw_charts

    def draw_charts(run, params, folder, looks):
        shows = repr((run.curves, run.scores, run.classes, find_champion(run), params, looks))
        if shows not in drawn:
            own = tmp_path_factory.mktemp("charts")
            drawn[shows] = own, whole(run, params, own, looks)
        own, sizes = drawn[shows]
        shutil.copytree(own, folder, dirs_exist_ok=True)
        return sizes

    monkeypatch.setattr(report, "draw_charts", draw_charts)


@pytest.mark.usefixtures("fake_encoder")
def test_two_runs_leave_the_same_bytes_and_every_picture_is_on_the_page(recipes, folders, tmp_path):
    page = write(folders, tmp_path / "one", recipes)
    write(folders, tmp_path / "two", recipes)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert list(one) == list(two)
    assert [name for name in one if one[name] != two[name]] == []
    unused = {name for name in one if name.startswith("pictures/")} - set(page.sources)
    # for the README and other documents
    assert unused == {"pictures/overlays.jpg", "pictures/heat.jpg"}
    assert json.loads(one["metrics.json"])["gate"] == {"passed": 1}
    text = " ".join(page.text)
    assert "Curated <concepts> & all." in text  # shown as written, not as tags
    sections = {
        "results",
        "scenes",
        "heat",
        "classes",
        "curves",
        "data",
        "curation",
        "segments",
        "validation",
    }
    assert sections <= set(page.ids)
    assert "+6.0" in text
    assert "the best recipe on the tune split" in text
    kinds = [kind for kind in page.text if kind in ("Good", "Typical", "Bad")]
    assert kinds == ["Good", "Typical", "Bad"]
    assert [one for one in text.split() if one == "ceiling"], "beside the scores"
    summary = json.loads(one["summary.json"])
    assert (summary["champion"], list(summary)) == ("cocu-mil", ["ceiling", "champion", "miou"])
    shown = [name for name in page.text if name in recipes]
    assert shown.index("cocu-mil") < shown.index("nouns-mil"), "the best first"


@pytest.mark.usefixtures("fake_encoder", "charts_once")
def test_another_seed_shows_other_pictures(recipes, folders, tmp_path):
    few = ReportParams(pictures=2, examples=2, segments=2, scenes=1)
    write(folders, tmp_path / "one", recipes, params=few)
    write(folders, tmp_path / "two", recipes, params=few, seed=5)
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one["metrics.json"] == two["metrics.json"]
    assert one["index.html"] != two["index.html"]


@pytest.mark.usefixtures("charts_once")
def test_sections_shrink_where_no_truth_is_known(recipes, unknown, tmp_path):
    page = write(unknown, tmp_path, recipes, gate={})
    assert {"curves", "data", "curation", "segments"} <= set(page.ids)
    assert not {"scenes", "heat", "classes"} & set(page.ids)
    assert not any("✗" in t or "✓" in t for t in page.text if "content" not in t)


@pytest.mark.usefixtures("charts_once")
def test_what_was_not_measured_is_not_claimed(recipes, unknown, tmp_path):
    bare = {rule: {"concepts_per_image": 1.0, "kept": 1.0} for rule in ("nouns", "cocu")}
    write_json(bare, tmp_path / "curation.json")
    folders = dataclasses.replace(unknown, curation=tmp_path / "curation.json")
    page = write(folders, tmp_path, recipes)
    text = " ".join(" ".join(page.text).split())
    for words in (
        "1 not measured",
        "not measured: no masks of the test split",
        "nothing was scored. These recipes were trained:",
        "No picture of the tune split has a mask: the last epoch is kept.",
    ):
        assert words in text
    for words in ("rules passed", "mIoU", "recall", "nan", "is known for evaluation only"):
        assert words not in text


@pytest.mark.usefixtures("fake_encoder", "charts_once")
@pytest.mark.parametrize("names", [["cocu-mil"], ["nouns-mil", "cocu-mil"], []])
def test_any_set_of_recipes_makes_a_page(recipes, folders, tmp_path, names):
    page = write(folders, tmp_path, {name: recipes[name] for name in names})
    assert ("results" in page.ids) == bool(names)
    # a rule over a recipe that is not there is a miss
    assert "miss" in page.text or "nouns-mil" in names


@pytest.mark.usefixtures("fake_encoder", "charts_once")
def test_nothing_need_be_shown(recipes, folders, tmp_path):
    none = {
        f.name: 0
        for f in dataclasses.fields(ReportParams)
        if isinstance(f.default, int) and f.name != "measured"
    }
    page = write(folders, tmp_path, recipes, params=ReportParams(**none))
    assert "scenes" not in page.ids
    assert not [source for source in page.sources if source.endswith(".jpg")]


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="scenes"):
        ReportParams(scenes=-1)


def test_best_and_worst_classes():
    scores = {
        "a": {"per_class": {"x": 5.0, "y": 70.0, "z": 5.0, "w": 30.0, "v": 0.0}},
        "b": {"per_class": {"x": 1.0}},
    }
    assert find_extremes(SimpleNamespace(scores=scores), 2) == [
        {"name": "a", "best": [("y", 70.0), ("w", 30.0)], "worst": [("v", 0.0), ("z", 5.0)]},
        {"name": "b", "best": [], "worst": []},
    ]
    # none of them twice
    assert [len(row["best"]) for row in find_extremes(SimpleNamespace(scores=scores))] == [2, 0]


def test_what_is_said_of_a_recipe_beside_its_row():
    assert (
        list(list_remarks({}))
        == list(list_remarks({"protocol": {"refine": "none", "masks": "regions"}, "scores": {}}))
        == []
    )
    assert list(list_remarks({"also": {"tcl": {"scores": {"miou": 25.36}}}})) == [
        "By the protocol of tcl: mIoU 25.4."
    ]
    found = {"queries": 1510.0, "gallery": 1312.0, "r1": 27.59, "r10": 70.0}
    scores = {"mask_map": 5.01, "mask_map_50": 11.0, "retrieval": found}
    assert list(
        list_remarks({"protocol": {"refine": "pamr", "masks": "hierarchy"}, "scores": scores})
    ) == [
        "Masks refined along the edges of the picture (PAMR).",
        "Masks may overlap (made by hierarchy).",
        "Masks of things: mAP 5.0, 11.0 at IoU 0.5.",
        "Segment retrieval: 27.6 % of 1,510 caption expressions find their segment first among "
        "1,312, 70.0 % within the first ten.",
    ]


@pytest.mark.usefixtures("fake_encoder", "charts_once")
def test_what_is_marked_is_counted_on_the_page_and_in_the_metrics(recipes, folders, tmp_path):
    assert "exact_duplicate" not in " ".join(write(folders, tmp_path / "one", recipes).text)
    found = json.loads(folders.curation.read_text())
    write_json({**found, "dropped": {"exact_duplicate": 2.0, "leak": 0.0}}, folders.curation)
    text = " ".join(write(folders, tmp_path / "two", recipes).text)
    assert "exact_duplicate" in text
    assert "picture of the same bytes as another one" in text
    metrics = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert metrics["curation"]["dropped"] == {"exact_duplicate": 2.0, "leak": 0.0}
