"""What is said about each picture."""

import numpy as np
import pytest

from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.curation_pictures import judge_concept, mark_concepts, show_curation
from captionseg.reporting.overlay import IGNORED
from captionseg.reporting.params import ReportParams
from captionseg.reporting.pictures import (
    describe_texts,
    draw,
    measure_concept_gap,
    paint_segments,
    show_data,
    show_segments,
)


def test_draws_depend_on_the_seed_alone():
    uids = [f"{i:02d}" for i in range(30)]
    first = draw(uids, 5, seed=0, stream=1)
    assert len(set(first)) == 5
    assert draw(uids[::-1], 5, seed=0, stream=1) == first
    assert draw(uids, 5, seed=1, stream=1) != first != draw(uids, 5, seed=0, stream=2)
    assert sorted(draw(uids[:3], 5, seed=0, stream=1)) == uids[:3]
    assert draw([], 5, seed=0, stream=1) == []


def test_a_concept_is_right_wrong_or_unknown():
    assert judge_concept("car", 0.5, {"car"}, {"car"}) == {
        "text": "car",
        "score": 0.5,
        "right": True,
        "own": True,
        "confirmed": False,
    }
    assert judge_concept("car", 0.5, None, {"dog"}, {"car"})["confirmed"] is True
    assert judge_concept("car", 0.5, None, {"car"}, {"car"})["confirmed"] is False
    assert judge_concept("car", 0.5, {"carpet"}, set())["right"] is False
    assert judge_concept("car", 0.5, None, set())["right"] is None
    assert judge_concept("car", float("nan"), None, set())["score"] is None


def test_own_nouns_are_marked_by_their_singular_and_nothing_is_lost():
    caption = "Two zebras, a car on the carpet."
    pieces = list(mark_concepts(caption, {"zebra", "car"}, {"zebras": "zebra"}))
    assert "".join(piece for piece, _ in pieces) == caption
    assert [piece for piece, own in pieces if own] == ["zebras", "car"]
    caption = "A car's fire-hydrants, a fire and a hydrant."
    pieces = list(mark_concepts(caption, {"fire hydrant", "car"}, {"hydrants": "hydrant"}))
    assert "".join(piece for piece, _ in pieces) == caption
    assert [piece for piece, own in pieces if own] == ["car", "fire", "hydrants"]


def test_gap_counts_what_is_shown_and_what_is_named(recipes, folders):
    rows = {row["kind"]: row for row in measure_concept_gap(Artifacts(folders, recipes))}
    assert rows["all"] == {
        "kind": "all",
        "classes": 4,
        "shown": 3.0,
        "named": 1.0,
        "share": pytest.approx(100 / 3),
    }
    # captions name the object alone
    assert (rows["object"]["share"], rows["stuff"]["share"]) == (100.0, 0.0)


def test_data_shows_train_pictures_and_counts_all(recipes, folders, tmp_path):
    view = show_data(Artifacts(folders, recipes), ReportParams(pictures=3), tmp_path, seed=0)
    assert view["splits"] == {"train": 9, "test": 3}
    assert view["failed"] == 1
    assert [p["file"] for p in view["pictures"]] == sorted(f.name for f in tmp_path.iterdir())
    assert view["pictures"][0]["shown"][0]["named"]  # what the caption names comes first
    assert [c["named"] for c in view["pictures"][0]["shown"]] == [True, False, False]


def test_examples_have_every_rule_and_their_neighbours(recipes, folders, tmp_path):
    views = show_curation(
        Artifacts(folders, recipes), ReportParams(examples=2, neighbours=1), tmp_path, seed=0
    )
    assert len(views) == 2
    assert [r["rule"] for r in views[0]["rules"]] == ["nouns", "cocu"]
    # no boat is in the picture
    assert [c["right"] for c in views[0]["rules"][1]["concepts"]] == [True, True, False]
    assert views[0]["shown"] is not None
    assert [len(v["neighbours"]) for v in views] == [1, 1]
    assert all((tmp_path / v["neighbours"][0]["file"]).exists() for v in views)


def test_small_segments_lie_on_large_ones_and_whole_pictures_are_left_out():
    inside = np.zeros((3, 4, 4), bool)
    inside[0], inside[1, :, :3], inside[2, :2, :2] = True, True, True
    labels = paint_segments(
        inside, [{"full_image": True}, {"full_image": False}, {"full_image": False}]
    )
    assert labels[0].tolist() == [2, 2, 1, IGNORED]
    assert labels[3].tolist() == [1, 1, 1, IGNORED]


def test_texts_are_right_if_they_name_most_of_their_segment(recipes, folders, tmp_path):
    (view,) = show_segments(Artifacts(folders, recipes), ReportParams(segments=1), tmp_path, seed=0)
    whole, top = view["segments"]
    assert whole["whole"]
    assert [t["right"] for t in whole["texts"]] == [None]  # "a scene" names no class
    assert [(t["text"], t["right"]) for t in top["texts"]] == [("the sky", True), ("grass", False)]


def test_without_a_truth_nothing_is_called_right_or_wrong(recipes, unknown, tmp_path):
    run = Artifacts(unknown, recipes)
    assert measure_concept_gap(run) == []
    examples = show_curation(run, ReportParams(), tmp_path, seed=0)
    assert {c["right"] for e in examples for r in e["rules"] for c in r["concepts"]} == {None}
    assert {e["shown"] for e in examples} == {None}
    texts = [
        t
        for v in show_segments(run, ReportParams(), tmp_path, seed=0)
        for s in v["segments"]
        for t in s["texts"]
    ]
    assert {t["right"] for t in texts} == {None}


def test_expressions_are_not_judged() -> None:
    texts = [{"text": "a cat", "kind": "phrase"}, {"text": "a cat on a mat", "kind": "expression"}]
    row, true = {"texts": texts, "full_image": False}, np.full((2, 2), 1, np.uint8)
    view = describe_texts(
        row, "red", np.ones((2, 2), bool), true, {"a cat": {0}, "a cat on a mat": {0, 1}}
    )
    assert [text["right"] for text in view["texts"]] == [False, None]
