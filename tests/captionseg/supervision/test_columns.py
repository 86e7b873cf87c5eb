"""Supervision as columns: what a rule gives, parts of it, and parts put together."""

import numpy as np
import pytest

from captionseg.supervision.columns import COLUMNS, NO_CONCEPT, ROWS, Supervision, join
from tests.captionseg.supervision.rows import Concept, concepts_of, supervision_of

WORDS = ["dog", "grass", "car"]


def blank(count: int) -> Supervision:
    return Supervision.blank(np.array([f"u{i}" for i in range(count)], object))


def test_blank_keeps_everything_and_has_no_concept():
    found = blank(2)
    assert found.kept.all()
    assert [found.drop_reason.tolist(), found.to_texts()] == [["", ""], [[], []]]
    assert (len(found), found.rule, found.concept.tolist()) == (2, "", [[-1], [-1]])


def test_concepts_by_hand():
    before = blank(4)
    before.kept[:2], before.drop_reason[:2] = False, ["too_small", "too_small"]
    concept = np.array([[1, 0], [1, 0], [2, -1], [-1, -1]])
    after = before.with_concepts(
        concept,
        rule="x",
        vocabulary=WORDS,
        score=np.array([[2.0, 1.0]] * 4),
        score_a=np.array([[0.5, 0.25]] * 4),
        score_b=np.array([[1.5, 0.75]] * 4),
        weight=np.array([[1.0, 0.5]] * 4),
        support=np.array([[2.0, 1.0]] * 4),
        cluster=np.array([[0, 1]] * 4),
    )
    assert after.kept.tolist() == [False, False, True, False]
    assert after.drop_reason.tolist() == ["too_small", "too_small", "", NO_CONCEPT]
    assert concepts_of(after)[1] == (
        Concept("grass", 2.0, 0.5, 1.5, 1.0, 2, 0, "x"),
        Concept("dog", 1.0, 0.25, 0.75, 0.5, 1, 1, "x"),
    )
    assert after.to_texts() == [["grass", "dog"], ["grass", "dog"], ["car"], []]
    assert after.count.tolist() == [2, 2, 1, 0]
    # where there is no concept, nothing is left of what was given
    assert [after.weight[2:].tolist(), after.support[2:].tolist()] == [
        [[1.0, 0.0], [0.0, 0.0]],
        [[2, 0], [0, 0]],
    ]
    assert after.cluster[2:].tolist() == [[0, -1], [-1, -1]]
    assert np.isnan(after.score[3]).all()
    assert {name: getattr(after, name).dtype for name in COLUMNS} == {
        name: np.dtype(kind) for name, (kind, _) in COLUMNS.items()
    }
    # what it was given stays as it is
    assert before.kept.tolist() == [False, False, True, True]
    assert before.drop_reason.tolist() == ["too_small", "too_small", "", ""]


def test_what_a_rule_does_not_give():
    found = blank(1).with_concepts(np.array([[0]]), rule="x", vocabulary=WORDS)
    (concept,) = concepts_of(found)[0]
    assert (concept.score, concept.weight, concept.support, concept.cluster) == (1.0, 1.0, 0, -1)
    assert np.isnan([concept.score_a, concept.score_b]).all()


def test_a_column_that_there_is_not_is_a_mistake_of_the_rules():
    with pytest.raises(TypeError, match="no columns of a supervision: scores"):
        blank(1).with_concepts(np.array([[0]]), rule="x", vocabulary=WORDS, scores=np.ones((1, 1)))


def test_there_are_as_many_columns_as_the_fullest_row_needs_and_at_least_one():
    concept = np.array([[0, -1, -1], [1, 2, -1], [-1, -1, -1]])
    whole = blank(3).with_concepts(concept, rule="x", vocabulary=WORDS)
    assert {getattr(whole, name).shape for name in ("concept", *COLUMNS)} == {(3, 2)}
    assert whole.take(np.array([0, 2])).concept.tolist() == [[0], [-1]]
    assert whole.take(slice(2, 3)).weight.tolist() == [[0.0]]
    assert whole.take(np.array([], int)).concept.shape == (0, 1)


def test_rows_keep_all_that_belongs_to_them():
    rows = [(Concept("dog", 0.5, cluster=1),), (), (Concept("car"), Concept("dog", support=3))]
    whole = supervision_of("abc", rows, kept=[True, False, True], reasons=["", "why", ""])
    some = whole.take(np.array([2, 1]))
    assert (some.uid.tolist(), some.kept.tolist()) == (["c", "b"], [True, False])
    assert (some.drop_reason.tolist(), some.rule) == (["", "why"], whole.rule)
    assert repr(concepts_of(some)) == repr([concepts_of(whole)[i] for i in (2, 1)])


def test_parts_of_any_width_are_put_one_after_another():
    rows = [(Concept("dog", 0.5),), (Concept("car", support=2), Concept("dog")), ()]
    whole = supervision_of("abc", rows)
    found = join([whole.take(slice(i, i + 1)) for i in range(3)])
    for name in ROWS:
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
