"""Data as people keep them through all stages, layout by layout: without masks the reports show
only what was measured.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.soak.checkout import differences, digests
from tests.stages.given import (
    COUNT,
    LAYOUTS,
    RECIPES,
    choose_source,
    read_rows,
    run_stages,
    set_params,
)

IN_PLACE = "img2dataset-files"
GOOD = COUNT - 2  # one is broken, and one is gone
NUMBERS = {
    "data": {"digest", "download_success", "masks", "pairs", "scored", "source"},
    "segments": {"full_image_share", "per_image", "texts_per_segment"},
    "recipes": set(RECIPES),
    "curation": {"nouns", "cocu"},
    "gate": {"passed"},
}
"""All sections of metrics.json that a run without masks has, and what is in them."""


@pytest.mark.parametrize(
    "layouts",
    [["coco"], ["kaggle"], [name for name in LAYOUTS if name.startswith("img2dataset")]],
    ids=lambda names: names[0],
)
def test_the_whole_dag(layouts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """img2dataset's three forms, one of them left in place, lead to the same bytes, but for the
    names of rows and the shards of the one in place.
    """
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    found = []
    for layout in layouts:
        root = tmp_path / layout
        root.mkdir()
        monkeypatch.chdir(root)
        places = {"in_place": True} if layout == IN_PLACE else {}
        set_params(choose_source(layout, root / "given", **places))
        metrics = run_stages()
        assert metrics["download"] == {"pairs": GOOD, "download_success": GOOD / COUNT}
        assert metrics["evaluate"] == {}
        check_rows(layout)
        check_numbers(layout)
        check_pages(layout)
        found.append(digests(root))
    for layout, others in zip(layouts[1:], found[1:]):
        ends = r"\.parquet|_stats\.json" + (r"|\.tar" if layout == IN_PLACE else "")
        different = differences(found[0], others)
        assert all(re.match(rf"data/pairs/\d+({ends})$", name) for name in different)


def check_rows(layout: str) -> None:
    """Every row of the source is there, and what failed with its reason."""
    pairs = read_rows("data/pairs")
    gone = "not_found" if "img2dataset" in layout else "no_picture"
    assert Counter(row["reason"] for row in pairs) == {None: GOOD, gone: 1, "not_decodable": 1}
    assert len({row["source_row"] for row in pairs}) == COUNT
    ids = read_rows("data/index", "ids*.parquet")
    assert {row["uid"] for row in ids} == {row["uid"] for row in pairs if not row["reason"]}
    assert Path("data/pairs/licences.csv").exists() == (layout == "coco")


def check_numbers(layout: str) -> None:
    """metrics.json has no number that needs a mask, or a caption that the layout has not."""
    metrics = json.loads(Path("reports/metrics.json").read_text())
    assert {section: set(found) for section, found in metrics.items()} == NUMBERS
    assert metrics["data"]["masks"] == {"train": 0, "tune": 0, "test": 0}
    assert metrics["data"]["source"] == LAYOUTS[layout][0]
    assert all(set(found) == {"train"} for found in metrics["recipes"].values())
    several = {"held_out"} if layout in ("coco", "kaggle") else set()
    expected = {"concepts_per_image", "kept"} | several
    assert all(set(found) == expected for found in metrics["curation"].values())
    for table in ("plots/curation", "plots/miou", "comparison/differences", "comparison/scores"):
        assert len(Path(f"reports/{table}.csv").read_text().splitlines()) == 1, table


def check_pages(layout: str) -> None:
    """The pages count what came, and have no section of what was not measured."""
    pages = {
        name: Path(f"reports/{name}.html").read_text() for name in ("index", "data", "comparison")
    }
    for name, page in pages.items():
        assert not re.search(r"\b(nan|None|undefined)\b", page), name
    assert "nothing was scored" in pages["index"]
    sections = set(re.findall(r'<section id="(\w+)"', pages["index"]))
    assert not sections & {"scenes", "heat", "classes"}
    shown = {path.name.split("_")[0] for path in Path("reports/pictures").iterdir()}
    assert {name.removesuffix(".png") for name in shown} == {
        "curves",
        "data",
        "example",
        "segments",
        "sheet",
    }
    rows = dict(
        re.findall(r"<b>(\w+)</b>.*?<td[^>]*>(\d+)</td>", pages["data"].replace("<wbr>", ""))
    )
    assert rows == {
        "not_found" if "img2dataset" in layout else "no_picture": "1",
        "not_decodable": "1",
    }
    assert ("held-out captions" in pages["data"]) == (layout in ("coco", "kaggle"))
