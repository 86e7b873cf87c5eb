import numpy as np
import pyarrow.parquet as pq
import pytest

from captionseg.marking.exact import Exact
from captionseg.marking.length import Length
from captionseg.marking.mark import Marks, mark, write_marks
from captionseg.marking.near import Near
from captionseg.records import MARKS, UserError
from tests.captionseg.marking.rows import rows_of

ROWS = rows_of(
    5,
    caption=["dog", "a red dog", "a red dog", "a red cat", "x"],
    digest=[1, 1, 1, 2, 2],
    split=["train", "train", "train", "train", "test"],
)


def test_each_marks_what_those_before_it_keep():
    found = mark(ROWS, {"length": Length(min_words=2)}, Marks.blank(5), seed=0)
    assert found.kind.tolist() == ["caption_short", "", "", "", ""]
    assert found.unread.tolist() == [True, False, False, False, False]
    more = mark(ROWS, {"exact": Exact(), "near": Near()}, found, seed=0)
    # row 0 has the same bytes, but is gone already
    assert more.kind.tolist() == ["caption_short", "", "exact_duplicate", "leak", ""]
    assert more.twin.tolist() == ["", "", ROWS.uid[1], ROWS.uid[4], ""]
    assert more.unread.tolist() == found.unread.tolist()
    assert found.kind.tolist() == ["caption_short", "", "", "", ""]  # not changed
    kinds = ["caption_short", "caption_long", "exact_duplicate", "leak"]
    assert more.count(kinds) == dict(zip(kinds, [1, 0, 1, 1], strict=True))
    assert more.take(np.array([2, 3])).kind.tolist() == ["exact_duplicate", "leak"]


def test_a_marker_that_leaves_nothing_is_named():
    with pytest.raises(
        UserError, match=r"^curate.marks.length: leaves none of 4 training pairs .*; loosen it$"
    ):
        mark(ROWS, {"length": Length(min_words=9)}, Marks.blank(5), seed=0)


def test_the_table_has_what_is_marked(tmp_path):
    marks = mark(ROWS, {"length": Length(min_words=2), "exact": Exact()}, Marks.blank(5), seed=0)
    write_marks(ROWS, marks, tmp_path / "marks.parquet")
    table = pq.read_table(tmp_path / "marks.parquet")
    assert table.schema == MARKS
    assert table.to_pylist()[1] == {
        "uid": ROWS.uid[2],
        "kind": "exact_duplicate",
        "reason": f"exact duplicate of {ROWS.uid[1]}",
        "twin": ROWS.uid[1],
    }
    assert table["twin"].to_pylist() == [None, ROWS.uid[1], ROWS.uid[4]]
    write_marks(ROWS, Marks.blank(5), tmp_path / "none.parquet")
    assert pq.read_table(tmp_path / "none.parquet").equals(MARKS.empty_table())
