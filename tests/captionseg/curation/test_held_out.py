"""The measure by captions that no rule saw: by hand on five pictures, and its intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation import held_out as held_out_measure
from captionseg.curation.held_out import (
    MEASURES,
    Bootstrap,
    align_vocabulary,
    match_held_out,
    measure_held_out,
    rank_added,
    resample,
)
from captionseg.supervision.columns import Supervision
from captionseg.text.vocabulary import Vocabulary

WORDS = ("dog", "cat", "grass", "water", "sand", "boat")
VOCABULARY = Vocabulary(WORDS, None)
CAPTIONS = ["a dog", "a cat", "a boat", "a dog on grass", "sand"]
HELD_OUT = {
    "0": ["a dog on the grass", "dogs by the water"],  # missing: grass, water
    "1": ["a cat", "one cat"],  # nothing is missing
    "2": ["a boat on water"],  # missing: water
    "3": ["a dog", "sand and grass"],  # missing: sand
    # the fifth picture has none
}
ADDED = [["dog", "grass", "sand", "water"], ["cat", "dog"], ["boat", "sand"], ["sand"], ["boat"]]
UIDS = np.array([str(number) for number in range(5)], object)


def supervise(texts: list[list[str]], words: tuple[str, ...] = WORDS) -> Supervision:
    concept = np.full((len(texts), max(map(len, texts))), -1, np.int32)
    for row, some in enumerate(texts):
        concept[row, : len(some)] = [words.index(text) for text in some]
    blank = Supervision.blank(UIDS)
    return blank.with_concepts(concept, rule="test", vocabulary=words)


@pytest.fixture
def matrices() -> tuple[csr_array, csr_array, np.ndarray]:
    held_out, measured = match_held_out(VOCABULARY, UIDS, HELD_OUT)
    return VOCABULARY.match_captions(CAPTIONS), held_out, measured


def test_which_concepts_held_out_captions_name(matrices) -> None:
    _, held_out, measured = matrices
    assert measured.tolist() == [True, True, True, True, False]
    named = [{WORDS[c] for c in np.flatnonzero(row)} for row in held_out.toarray()]
    expected = [{"dog", "grass", "water"}, {"cat"}, {"boat", "water"}, {"dog", "sand", "grass"}]
    assert named == [*expected, set()]


def test_by_hand(matrices) -> None:
    """Missing in pictures 0, 2 and 3. Added there: grass ✓ sand ✗ water ✓; sand ✗; sand ✓."""
    own, held_out, measured = matrices
    values = measure_held_out(supervise(ADDED), own, held_out, measured, sampled=6, seed=0)
    assert set(values) == {*MEASURES}
    assert values["pictures"] == 4
    assert values["precision_at_1"] == pytest.approx((1 + 0 + 1) / 3)
    assert values["precision_at_4"] == pytest.approx((2 / 4 + 0 + 1 / 4) / 3)
    assert values["recall_at_4"] == pytest.approx((2 / 2 + 0 + 1) / 3)
    assert values["average_precision"] == pytest.approx(((1 / 1 + 2 / 3) / 2 + 0 + 1) / 3)
    # everything is drawn: 3 of 4, 1 of 2, 1 of 2, 1 of 1 are named by some caption
    assert values["sampled_precision"] == pytest.approx((3 + 1 + 1 + 1) / (4 + 2 + 2 + 1))
    # of 3, 1, 2, 3 that any caption names
    assert values["sampled_recall"] == pytest.approx((3 + 1 + 1 + 1) / (3 + 1 + 2 + 3))


def test_own_concepts_count_neither_for_nor_against(matrices) -> None:
    """Only what is added is ranked: own concepts before it change nothing."""
    own, held_out, _ = matrices
    bare = [[t for t in some if t not in CAPTIONS[row]] for row, some in enumerate(ADDED)]
    for name, (value, weight) in rank_added(supervise(ADDED).concept, own, held_out).items():
        other = rank_added(supervise(bare).concept, own, held_out)[name]
        assert np.array_equal(value[:4], other[0][:4])
        assert np.array_equal(weight[:4], other[1][:4])


def test_without_held_out_captions_nothing_is_measured(matrices) -> None:
    own, _, _ = matrices
    held_out, measured = match_held_out(VOCABULARY, UIDS, {})
    assert measure_held_out(supervise(ADDED), own, held_out, measured, sampled=3, seed=0) == {}


def test_a_rule_with_a_vocabulary_of_its_own(matrices) -> None:
    own, held_out, measured = matrices
    words = ("horse", *WORDS[::-1])
    texts = [some if row else [*some, "horse"] for row, some in enumerate(ADDED)]
    other = align_vocabulary(supervise(texts, words), WORDS)
    values = measure_held_out(other, own, held_out, measured, sampled=6, seed=0)
    same = measure_held_out(supervise(ADDED), own, held_out, measured, sampled=6, seed=0)
    assert values["average_precision"] == same["average_precision"]
    assert values["sampled_precision"] == pytest.approx(6 / 10)  # a horse is drawn and is wrong


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """200 data sets of 400 pictures with precision .3: 95 % hold it, with 1.5 % of deviation."""
    rng, inside = np.random.default_rng(0), 0
    for seed in range(200):
        hits = rng.random(400) < 0.3
        out = resample({"p": (hits.astype(float), np.ones(400))}, seed=seed)
        assert out["p"] == pytest.approx(hits.mean())
        inside += out["p_low"] <= 0.3 <= out["p_high"]
    assert 0.9 <= inside / 200 <= 0.99


def test_intervals_do_not_depend_on_how_pictures_are_parted(monkeypatch) -> None:
    monkeypatch.setattr(held_out_measure, "CHUNK", 64)
    rng = np.random.default_rng(0)
    values = rng.random((2, 150))
    whole = resample({"p": (values[0], values[1])}, seed=3)
    bootstrap = Bootstrap(3)
    for start, end in ((0, 1), (1, 100), (100, 100), (100, 150)):
        bootstrap.add({"p": (values[0, start:end], values[1, start:end])})
    assert bootstrap.pictures == 150
    assert bootstrap.summarise() == whole
