"""Columns of pictures and captions: which are taken, and what is said where none is known."""

import logging
from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.sources.tables.pair_columns import Columns
from tests.captionseg.sources.tables.tabulating import FILES, good, put, rows


def test_the_choice_of_columns_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "captionseg")
    path = put(tmp_path, "m.csv", "text,image,Caption,file_name\nt,i,c,f\n")
    assert good(path) == {"f": ["c"]}, "the first known name, whatever its letters"
    line = (
        "m.csv: pictures from column 'file_name', captions from 'Caption' "
        "(download.table.picture_column, .caption_column)"
    )
    assert caplog.messages == [line]
    named = Columns("download.table", picture="image", caption="text")
    assert good(path, columns=named) == {"i": ["t"]}


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (
            "image,words\na,b\n",
            FILES,
            "no column of captions is known; set download.table.caption_column to one of its "
            "columns: image, words",
        ),
        (
            "image,caption,caption\na,b,c\n",
            FILES,
            "several columns are called 'caption'; set download.table.caption_column to one of "
            "its columns: image, caption, caption",
        ),
        (
            "image,caption\na,b\n",
            Columns("download.table", caption="alt"),
            "no column is called 'alt'; set download.table.caption_column to one of its columns: "
            "image, caption",
        ),
        (
            "image,caption\na,b\n",
            Columns("download.table", caption="image"),
            "'image' cannot be picture and caption at once",
        ),
        (
            "x,y,z\n1,2,3\n",
            FILES,
            "the columns have no known names; set download.table.picture_column and "
            "caption_column to names, or to numbers of columns; the first row: x, y, z",
        ),
    ],
)
def test_a_column_is_not_there(
    content: str, columns: Columns, message: str, tmp_path: Path
) -> None:
    path = put(tmp_path, "m.csv", content)
    with pytest.raises(UserError) as caught:
        rows(path, columns=columns)
    assert str(caught.value) == f"{path}: {message}"
