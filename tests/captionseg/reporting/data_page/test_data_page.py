"""The page as it is written, of runs with and without masks."""

from __future__ import annotations

from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.data_page.data_page import build_context
from captionseg.reporting.params import ReportParams
from captionseg.reporting.rendering import render


def write(folders, recipes, folder, **params) -> tuple[dict, str]:
    shown = build_context(
        Artifacts(folders, recipes), ReportParams(**params), folder, source="urls", seed=0
    )
    return shown, render("data.html", shown)


def test_everything_is_on_the_page(folders, recipes, tmp_path):
    shown, page = write(folders, recipes, tmp_path)
    assert "<strong>urls</strong>" in page
    assert {p.name for p in tmp_path.iterdir()} == {
        view["file"]
        for views in (shown["sheet"], *shown["alike"]["exact"], *shown["alike"]["near"])
        for view in views
    }
    assert all(f"pictures/{p.name}" in page for p in tmp_path.iterdir())
    assert "Two squares &lt;here&gt;, number 0" in page
    assert "failed_<wbr>to_<wbr>download" in page
    assert [group[0]["split"] for group in shown["alike"]["exact"]] == ["train"] * 3


def test_masks_make_no_difference(folders, unknown, recipes, tmp_path):
    assert write(folders, recipes, tmp_path / "a") == write(unknown, recipes, tmp_path / "b")


def test_few_pictures(folders, recipes, tmp_path):
    assert len(write(folders, recipes, tmp_path / "two", sheet=2)[0]["sheet"]) == 2
    shown, page = write(folders, recipes, tmp_path / "none", sheet=0)
    assert (shown["sheet"], shown["alike"]) == ([], {})
    assert "<img" not in page
    assert not (tmp_path / "none").exists()
