import numpy as np

from captionseg.marking.twins import Pictures, mark_followers
from tests.captionseg.marking.rows import rows_of


def test_held_out_then_larger_then_earlier_pictures_come_first():
    rows = rows_of(
        6,
        split=["train", "train", "train", "tune", "train", "test"],
        width=[100, 200, 200, 10, 50, 20],
        height=[100, 100, 100, 10, 400, 10],
    )
    found = Pictures.list_candidates(rows, ~rows.held_out)
    assert found.row.tolist() == [5, 3, 1, 2, 4, 0]  # 1, 2 and 4 have 20,000 pixels
    assert found.held_out.tolist() == [True, True, False, False, False, False]


def test_a_picture_stands_for_its_pairs_by_the_first_that_is_kept():
    rows = rows_of(4, picture=[7, 7, 3, 3])
    assert Pictures.list_candidates(rows, np.array([False, True, True, True])).row.tolist() == [
        1,
        2,
    ]
    assert Pictures.list_candidates(rows, np.array([False, False, False, True])).row.tolist() == [3]


def test_all_kept_pairs_of_a_picture_are_marked_and_name_its_twin():
    rows = rows_of(5, picture=[0, 0, 1, 1, 1])
    kept = np.array([True, True, True, False, True])
    pictures = Pictures.list_candidates(rows, kept)
    found = mark_followers(rows, kept, pictures, np.array([0, 0]), "exact")
    assert found.row.tolist() == [2, 4]
    assert [*found.kind] == ["exact_duplicate"] * 2
    assert [*found.reason] == [f"exact duplicate of {rows.uid[0]}"] * 2
    assert found.twin.tolist() == [0, 0]


def test_a_held_out_twin_makes_it_a_leak_and_is_not_marked_itself():
    rows = rows_of(3, split=["train", "test", "tune"])
    pictures = Pictures.list_candidates(rows, ~rows.held_out)
    assert pictures.row.tolist() == [1, 2, 0]
    found = mark_followers(
        rows, ~rows.held_out, pictures, np.array([0, 0, 1]), "near", lambda row, twin: [" (so)"]
    )
    assert found.row.tolist() == [0]
    assert [*found.kind] == ["leak"]
    assert [*found.reason] == [f"leak: near duplicate of {rows.uid[2]} in split tune (so)"]
