import numpy as np

from captionseg.marking.marker import MarkedRows
from tests.captionseg.marking.rows import rows_of


def test_a_row_that_two_marks_have_counts_as_the_first_says():
    both = MarkedRows.without_twins(
        np.array([1, 3]), "caption_short", ["a", "b"]
    ) + MarkedRows.without_twins(np.array([0, 3]), "caption_long", ["c", "d"])
    assert both.row.tolist() == [1, 3, 0]
    assert [*both.kind] == ["caption_short", "caption_short", "caption_long"]
    assert [*both.reason] == ["a", "b", "c"]
    assert both.twin.tolist() == [-1, -1, -1]


def test_pairs_of_tune_and_test_are_held_out():
    rows = rows_of(3, split=["train", "tune", "test"])
    assert rows.held_out.tolist() == [False, True, True]
