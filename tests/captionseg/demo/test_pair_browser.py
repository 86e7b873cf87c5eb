"""Lists of pairs, and what the page shows of one."""

from __future__ import annotations

import pytest

from captionseg.demo.pair_browser import PAGE, PairBrowser
from captionseg.demo.segment_search import SegmentSearch
from captionseg.lineage.history import Places
from tests.captionseg.demo.conftest import EVIL


def test_pages_of_pairs_follow_the_shards(run):
    browser = PairBrowser(run.places)
    assert browser.missing == ""
    first, second, third = (browser.list_pairs(page) for page in range(3))
    assert [len(page.pairs) for page in (first, second, third)] == [PAGE, PAGE, 52 - 2 * PAGE]
    assert [page.more for page in (first, second, third)] == [True, True, False]
    assert [page.first for page in (first, second, third)] == [1, 25, 49]
    table = run.world.table["uid"].to_pylist()
    listed = [pair.uid for page in (first, second, third) for pair in page.pairs]
    assert len(set(listed)) == 52
    assert set(table) <= set(listed)  # the table has no pair that failed
    assert sum(not pair.has_picture for page in (first, second) for pair in page.pairs) == 1


def test_pairs_are_found_by_words_split_and_uid(run):
    browser = PairBrowser(run.places)
    dogs = browser.list_pairs(query=" A  DOG ").pairs
    assert dogs
    assert all("a dog" in pair.caption for pair in dogs)
    assert {pair.split for pair in browser.list_pairs(split="tune").pairs} == {"tune"}
    one = dogs[0]
    assert [p.uid for p in browser.list_pairs(query=one.uid[:12].upper()).pairs] == [one.uid]
    assert browser.find(one.uid) == one
    assert browser.find(one.uid[:12]) is None
    assert browser.list_pairs(query=".*").pairs == []  # a text, no pattern
    assert browser.list_pairs(query=str(run.places.pairs / "00000.tar")).pairs == []  # nor a path


def test_a_pair_has_what_the_run_made_of_it(run):
    browser = PairBrowser(run.places)
    pair = browser.list_pairs().pairs[0]
    assert pair.caption == EVIL
    view = browser.read(pair)
    assert view.pair["uid"] == pair.uid
    assert set(view.rules) == {"cocu", "nouns"}
    assert len(view.images) == len(view.rows) == 9  # the index has eight neighbours of each
    for image, row in zip(view.images, view.rows, strict=True):
        assert (image == browser.read_images([browser.find(row["uid"])])[row["uid"]]).all()  # type: ignore[list-item]
    concepts = [concept["text"] for concept in view.list_concepts("cocu")]
    pictured = view.list_pictured("cocu")
    assert all(set(one.given) <= set(concepts) for one in pictured)
    assert view.list_concepts("other") == []
    assert len(view.segments) == 2
    assert view.segments[0].mask.shape == view.images[0].shape[:2]
    best, other = view.segments[0].texts
    assert (best[1], other) == (pytest.approx(0.9), ("something", 0.5))


def test_the_test_split_and_failed_pairs_have_less(run):
    browser = PairBrowser(run.places)
    view = browser.read(browser.list_pairs(split="test").pairs[0])
    assert view.rules == {}
    assert len(view.list_pictured("")) == len(view.images)
    failed = next(pair for pair in browser.list_pairs().pairs if not pair.has_picture)
    view = browser.read(failed)
    assert (view.rows, view.images, view.segments) == ([], [], [])


def test_without_a_run_there_is_a_line(tmp_path):
    places = Places(tmp_path / "data", tmp_path / "models")
    assert "run `dvc repro download` first, or name the data" in PairBrowser(places).missing
    assert "no segments; run `dvc repro`" in SegmentSearch(places, None).missing
