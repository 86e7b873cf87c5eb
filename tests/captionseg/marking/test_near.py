from captionseg.marking.near import Near
from tests.captionseg.marking.rows import marked, rows_of


def test_the_larger_picture_stays_and_the_reason_says_how_far():
    rows = rows_of(3, phash=[0b111, 0b000, 0xFFFF0000], width=[100, 101, 999], height=[100] * 3)
    assert marked(Near(distance=3), rows) == {
        0: ("near_duplicate", f"near duplicate of {rows.uid[1]} (distance 3)", 1)
    }
    assert marked(Near(distance=2), rows) == {}


def test_what_has_no_hash_is_near_nothing():
    rows = rows_of(3, phash=[0, 0, 0], hashed=[True, False, False])
    assert marked(Near(), rows) == {}


def test_a_picture_is_not_marked_for_one_that_was_marked_itself():
    """0 - 1 - 2 in a chain of 3 bits each; 1 goes for 0, and 2 is 6 bits from 0."""
    rows = rows_of(3, phash=[0b000000, 0b000111, 0b111111])
    assert {r: twin for r, (_, _, twin) in marked(Near(distance=3), rows).items()} == {1: 0}


def test_a_leak_counts_before_a_twin_of_the_training_split():
    rows = rows_of(3, phash=[0b0, 0b1, 0b11], split=["train", "train", "tune"])
    found = marked(Near(distance=2), rows)
    assert {row: kind for row, (kind, _, _) in found.items()} == {0: "leak", 1: "leak"}
    assert found[0][1] == f"leak: near duplicate of {rows.uid[2]} in split tune (distance 2)"
