"""What every member of MARKERS must keep to."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from captionseg.marking.marker import KINDS
from captionseg.marking.markers import MARKERS, PRESETS, MarksParams
from captionseg.records import UserError
from captionseg.typed import build
from tests.captionseg.marking.rows import marked, rows_of

EAGER = {
    "length": {"min_words": 4},
    "language": {"min_function_words": 0.3},
    "sides": {"min_side": 100},
    "repeated": {"most": 1},
    "near": {"distance": 3},
    "semantic": {"similarity": 0.9},
    "balance": {"t": 1},
}
"""Values with which each marks some of the pairs below, by name."""


@pytest.fixture(params=sorted(MARKERS))
def name(request) -> str:
    return request.param


@pytest.fixture
def marker(name):
    return build(MARKERS[name], EAGER.get(name, {}), name)


@pytest.fixture
def rows():
    """Sixty pairs of fifty pictures in three splits, with faults of every kind."""
    rng, count = np.random.default_rng(0), 60
    captions = np.array(
        ["a dog on the grass", "barn", "click to enlarge", "IMG_1234.jpg", "a cat in the sun"],
        object,
    )
    vector = rng.normal(size=(10, 6))[rng.integers(0, 10, 50)]
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    picture = np.concatenate([np.arange(50), np.arange(10)])
    splits = np.array(["train"] * 8 + ["tune", "test"], object)[rng.integers(0, 10, 50)]
    concepts = [{"sky", "dog"}, {"sky"}, set()]
    return rows_of(
        count,
        caption=captions[rng.integers(0, 5, count)].tolist(),
        split=splits[picture],
        picture=picture,
        digest=rng.integers(-1, 25, 50)[picture],
        phash=rng.integers(0, 64, 50)[picture],
        hashed=(rng.random(50) < 0.9)[picture],
        width=rng.integers(50, 300, 50)[picture],
        height=rng.integers(50, 300, 50)[picture],
        descriptor=vector[picture],
        named=[concepts[n] for n in rng.integers(0, 3, count)],
    )


def test_it_marks_kept_training_pairs_alone(marker, rows):
    assert marked(marker, rows)
    kept = ~rows.held_out & (np.arange(60) % 3 > 0)
    found = marked(marker, rows, kept.tolist())
    assert found
    assert kept[list(found)].all()
    assert marked(marker, rows, [False] * 60) == {}


def test_kinds_are_those_it_names(marker, rows):
    kinds = {kind for kind, _, _ in marked(marker, rows).values()}
    assert kinds <= set(marker.kinds) <= set(KINDS)
    assert marker.reads in ("caption", "picture", "concepts")


def test_reasons_are_one_line_and_name_the_twin(marker, rows):
    for row, (kind, reason, twin) in marked(marker, rows).items():
        assert reason.isprintable()
        assert 0 < len(reason) < 200
        is_copy = kind == "leak" or kind.endswith("_duplicate")
        assert (twin >= 0) == is_copy
        if is_copy:
            assert rows.uid[twin] in reason
            assert rows.picture[twin] != rows.picture[row] or rows.split[twin] != rows.split[row]
            assert (rows.split[twin] != "train") == (kind == "leak")


def test_a_twin_is_kept(marker, rows):
    found = marked(marker, rows)
    assert not {twin for _, _, twin in found.values()} & set(found)


def test_what_it_leaves_it_does_not_mark_the_second_time(marker, name, rows):
    found = marked(marker, rows)
    kept = [n not in found for n in range(60)]
    if name != "balance":  # whose counts are of what is left
        assert marked(marker, rows, kept) == {}


def test_nothing_is_random_and_nothing_is_changed(marker, rows):
    before = copy.deepcopy(rows)
    assert marked(marker, rows) == marked(marker, rows)
    for field in fields(rows):
        old, new = getattr(before, field.name), getattr(rows, field.name)
        if field.name == "named":
            old, new = old.toarray(), new.toarray()
        np.testing.assert_array_equal(np.asarray(old), np.asarray(new))


def test_no_pair_at_all(marker):
    empty = rows_of(0, named=None, descriptor=np.zeros((0, 3)))
    if marker.reads != "concepts":
        assert marked(marker, empty) == {}


def test_parameters_cannot_be_changed_behind_its_back(marker):
    with pytest.raises(FrozenInstanceError):
        marker.most = 3


def test_params_build_each_of_them_and_by_default_none(name):
    assert MarksParams().list_markers() == {}
    assert MarksParams().kinds() == []
    params = build(MarksParams, {name: {}}, "curate.marks")
    assert params.list_markers() == {name: MARKERS[name]()}
    assert [f.name for f in fields(MarksParams)] == ["preset", *MARKERS]
    assert build(MarksParams, {name: None}, "curate.marks").list_markers() == {}


def test_they_run_in_the_order_of_the_dict():
    given = {name: {} for name in sorted(MARKERS)}
    params = build(MarksParams, given, "curate.marks")
    assert list(params.list_markers()) == list(MARKERS)
    assert sorted(params.kinds()) == sorted(KINDS)


def test_a_section_takes_the_place_of_what_the_preset_has():
    params = build(
        MarksParams, {"preset": "datacomp_basic", "length": {"min_words": 2}}, "curate.marks"
    )
    chosen = params.list_markers()
    assert list(chosen) == ["length", "sides"]
    assert chosen["sides"] == PRESETS["datacomp_basic"]["sides"]
    assert chosen["length"] == MARKERS["length"](min_words=2)


def test_datacomp_keeps_more_than_two_words_and_five_characters_and_200_pixels():
    length, sides = PRESETS["datacomp_basic"].values()
    rows = rows_of(
        5,
        caption=["a b c d", "a dog", "a b cd", "a red dog", "a red dog"],
        width=[600, 600, 600, 199, 601],
        height=[200, 200, 200, 300, 200],
    )
    assert sorted({*marked(length, rows), *marked(sides, rows)}) == [1, 3, 4]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"near": {"distance": 11}}, r"near.distance: 11 is out of range \(valid: 0 to 10"),
        ({"nera": {}}, r"nera: unknown parameter; did you mean 'near'"),
        ({"exact": True}, r"exact: expected keys"),
        (
            {"preset": "datacomp"},
            r"preset: 'datacomp' is not valid \(valid: none, datacomp_basic\)",
        ),
        ({"length": {"min_words": 3, "max_words": 2}}, r"length: max_words: 2 is below min_words"),
        ({"balance": {"tail": 1.0}}, r"balance.tail: 1.0 is out of range"),
        ({"semantic": {"similarity": 0}}, r"semantic.similarity: 0.0 is out of range"),
    ],
)
def test_nonsense_is_refused(given, line):
    with pytest.raises(UserError, match=rf"^curate\.marks\.{line}"):
        build(MarksParams, given, "curate.marks")
