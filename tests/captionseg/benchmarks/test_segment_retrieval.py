"""Recall of expressions by hand: who is relevant, ranks, ties, chance; and on pictures of two
colours.
"""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.params import EvaluateParams
from captionseg.benchmarks.recipe import evaluate
from captionseg.benchmarks.segment_retrieval import (
    Queries,
    Retrieval,
    gallery,
    measures,
    queries_of,
    ranks,
)
from captionseg.datasets.truth_masks import encode_mask
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.segment_model import SegmentModel
from captionseg.text.referring import Mention, Reference

NAMES = ("dog", "cat", "grass", "sand")


def said(phrase: str, expression: str = "") -> Reference:
    return Reference(phrase, expression or phrase, (Mention((0, 1), (0, 1)),))


def test_the_gallery_has_each_class_of_each_picture_once():
    masks = [np.array([[2, 0], [0, 255]]), np.full((2, 2), 255), np.array([[1, 1], [3, 1]])]
    picture, label = gallery([encode_mask(mask) for mask in masks], ignore=255)
    assert picture.tolist() == [0, 0, 2, 2]
    assert label.tolist() == [0, 2, 1, 3]
    assert [part.tolist() for part in gallery([], ignore=255)] == [[], []]


def test_relevant_is_the_class_that_the_phrase_names_where_the_expression_is_said():
    """Gallery: dog and grass, dog and sand, cat and sand, dogs."""
    picture, label = np.array([0, 0, 1, 1, 2, 2, 3]), np.array([0, 2, 0, 3, 1, 3, 0])
    spoken = [
        [said("A photo"), said("A dog", "A dog on the grass"), said("the grass")],
        [said("a dog", "a dog on the  grass."), said("a cat")],  # no cat is there
        [said("the sand under a cat", "the sand under a cat"), said("an orange thing")],
        [said("two dogs")],
    ]
    found = queries_of(spoken, NAMES, picture, label)
    assert found.texts == ["a dog on the grass", "the grass", "the sand under a cat", "two dogs"]
    assert [np.flatnonzero(row).tolist() for row in found.relevant] == [[0, 2], [1], [4, 5], [6]]
    assert [np.flatnonzero(row).tolist() for row in found.of_class] == [
        [0, 2, 6],
        [1],
        [3, 4, 5],
        [0, 2, 6],
    ]


def test_captions_that_name_nothing_make_no_query():
    found = queries_of([[said("a view")], []], NAMES, np.array([0, 1]), np.array([0, 0]))
    assert (found.texts, found.relevant.shape) == ([], (0, 2))


def test_ranks_by_hand():
    scores = np.array(
        [[0.9, 0.8, 0.7, 0.6], [0.1, 0.5, 0.5, 0.5], [0.3, 0.3, 0.3, 0.3], [0.1, 0.2, 0.3, 0.4]]
    )
    right = np.array([[0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], bool)
    # two better; two equal and wrong before it; all equal, two wrong; nothing wrong at all
    assert ranks(scores, right).tolist() == [3, 3, 3, 1]


def test_measures_by_hand():
    """Segments 0 to 11 in the order of their scores; relevant at places 1, 5, 11 and 12, by class
    at 1, 2, 3 and 12.
    """
    scores = np.tile(-np.arange(12.0), (4, 1))
    relevant, alike = np.zeros((2, 4, 12), bool)
    relevant[range(4), [0, 4, 10, 11]] = True
    alike[range(4), [0, 1, 2, 11]] = True
    found = measures(scores, Queries(["a"] * 4, relevant, relevant | alike))
    assert found == {
        "r1": 25.0,
        "r5": 50.0,
        "r10": 50.0,
        "median_rank": 8.0,
        "class_r1": 25.0,
        "class_r5": 75.0,
        "class_r10": 75.0,
    }


def test_who_embeds_everything_alike_finds_nothing():
    relevant = np.eye(20, dtype=bool)
    assert measures(np.ones((20, 20)), Queries(["a"] * 20, relevant, relevant))["r10"] == 0.0


def test_ranks_are_those_of_a_sorted_list_and_chance_is_as_the_docstring_says():
    rng = np.random.default_rng(0)
    scores, right = rng.random((4000, 30)), rng.random((4000, 30)) < 0.1
    right[np.arange(4000), rng.integers(30, size=4000)] = True
    order = np.argsort(-scores, axis=1)
    assert np.array_equal(ranks(scores, right), 1 + np.take_along_axis(right, order, 1).argmax(1))
    found = measures(scores, Queries([], right, right))
    for k in (1, 5, 10):
        chance = np.mean([1 - comb(30 - int(n), k) / comb(30, k) for n in right.sum(1)])
        assert found[f"r{k}"] == pytest.approx(100 * chance, abs=2.5)


@pytest.fixture
def folders(world) -> Folders:
    return Folders(world.prepared, world.truth)


def test_a_model_that_tells_colours_apart_finds_their_words(folders, searchable):
    """8 pictures of two halves, with captions: an object, on its ground in every second; two say "a
    dog".
    """
    model = SegmentModel.load(
        searchable.model, device="cpu", frozen=lambda: load_encoder(folders.prepared.encoder)
    )
    once, twice = (found(folders, model, times) for times in (1, 2))
    # 3 objects, 4 on some ground, 3 grounds
    assert (once["queries"], once["gallery"]) == (10.0, 16.0)
    assert once["class_r1"] > 60
    assert once["class_r1"] >= once["r1"]
    assert twice == once


def found(folders: Folders, model: SegmentModel | None, times: int) -> dict:
    retrieval, result = Retrieval(HeldOut.load(folders, "test"), folders), {"scores": {}}
    for _ in range(times):
        retrieval.seed(model)
    retrieval.add_to(result)
    return result["scores"].get("retrieval", {})


def test_no_query_or_no_model_no_scores(folders, monkeypatch):
    from captionseg.benchmarks import segment_retrieval as module

    assert found(folders, None, 1) == {}
    monkeypatch.setattr(
        module, "parse_references", lambda captions, model=None: ([] for _ in captions)
    )
    assert found(folders, object(), 1) == {}  # type: ignore[arg-type]


def test_evaluate_has_it_for_models_of_segments(folders, searchable, tmp_path):
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "0").symlink_to(searchable.model)
    result, *_ = evaluate(tmp_path, folders, EvaluateParams(bootstrap=2, device="cpu"), seed=0)
    assert result["scores"]["retrieval"].keys() == {
        "r1",
        "r5",
        "r10",
        "median_rank",
        "class_r1",
        "class_r5",
        "class_r10",
        "queries",
        "gallery",
    }
