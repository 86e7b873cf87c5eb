from captionseg.marking.exact import Exact
from tests.captionseg.marking.rows import marked, rows_of


def test_of_equal_bytes_the_first_row_stays():
    rows = rows_of(5, digest=[4, 2, 4, -1, -1])  # of the last two nothing is known
    assert marked(Exact(), rows) == {2: ("exact_duplicate", f"exact duplicate of {rows.uid[0]}", 0)}


def test_captions_of_one_picture_are_no_duplicates():
    rows = rows_of(4, picture=[0, 0, 1, 1], digest=[5, 5, 5, 5])
    assert sorted(marked(Exact(), rows)) == [2, 3]


def test_a_copy_of_a_test_picture_is_a_leak():
    rows = rows_of(3, digest=[5, 5, 5], split=["train", "train", "test"])
    assert {kind for kind, _, _ in marked(Exact(), rows).values()} == {"leak"}
    assert sorted(marked(Exact(), rows)) == [0, 1]


def test_a_row_that_is_not_kept_stands_for_nobody():
    rows = rows_of(3, digest=[5, 5, 5])
    assert {r: twin for r, (_, _, twin) in marked(Exact(), rows, [False, True, True]).items()} == {
        2: 1
    }
