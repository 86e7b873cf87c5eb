"""CSV, TSV and TXT, split by the csv module.

pyarrow's reader is eight times as fast. But captions have line breaks in quotes, and quotes that
are never closed, which would swallow the rows after them. Here such a row ends with its line.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from captionseg.records import UserError
from captionseg.storage.remote import hide_secrets, open_plain

DELIMITERS = ("\t", ",", ";", "|")
LONGEST_LINE = 2**22  # characters; a longer line is read as several
HEAD = 2**16  # characters by which delimiter and columns are found
UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # its mark in front, as `open_text` has it
SAMPLE = 100  # rows by which columns are found


class Cells(NamedTuple):
    """Two cells of a row.

    Attributes:
        number: of its line in a text file, otherwise of the row; from 1.
        picture, caption: their values.
        fault: why they cannot be read; empty if they can.
    """

    number: int
    picture: Any = None
    caption: Any = None
    fault: str = ""


@contextlib.contextmanager
def open_text(url: str) -> Iterator[TextIO]:
    """Open a file as UTF-8, with or without a byte order mark; invalid bytes become surrogates."""
    with open_plain(url) as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
        with contextlib.closing(text):
            yield text


class Lines:
    """Lines of a text, which are counted and can be put back.

    Attributes:
        taken: lines of the row that is being read.
        number: of the first of them, from 1.
        ended: whether a line after the last was requested.
    """

    def __init__(self, text: TextIO) -> None:
        self.text, self.back = text, list[str]()
        self.taken: list[str] = []
        self.number, self.ended = 1, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.back.pop() if self.back else self.text.readline(LONGEST_LINE)
        if not line:
            self.ended = True
            raise StopIteration
        self.taken.append(line)
        return line

    def end_row(self, lines: int | None = None) -> None:
        """Continue after the row, or after the first `lines` of those that were taken for it."""
        count = len(self.taken) if lines is None else lines
        self.back += self.taken[: count - 1 : -1] if count else self.taken[::-1]
        self.number += count
        self.ended = self.ended and not self.back
        self.taken.clear()


def split_rows(text: TextIO, delimiter: str, width: int = 0) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and the cells of each row of a text; empty lines are no rows.

    A row of several lines has an unclosed quote if the file ends in it, a quote is in the middle of
    a word, the number of cells is not `width`, a cell is too long, or, in a TSV, has both a tab and
    a line break. Such a row is only its first line, and the quote is a character of it.
    """
    lines = Lines(text)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        cells: list[str] | None = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass
        number = lines.number
        if cells is None or (len(lines.taken) > 1 and is_torn(lines, cells, delimiter, width)):
            cells = lines.taken[0].rstrip("\r\n").split(delimiter)
            lines.end_row(1)
            reader = csv.reader(lines, delimiter=delimiter)
        else:
            lines.end_row()
        if cells:
            yield number, cells


def is_torn(lines: Lines, cells: Sequence[str], delimiter: str, width: int) -> bool:
    """Whether a row of several lines has an unclosed quote; see `split_rows`."""
    if lines.ended or (width and len(cells) != width):
        return True
    if delimiter == "\t" and any("\n" in cell and "\t" in cell for cell in cells):
        return True
    try:
        return list(csv.reader(lines.taken, delimiter=delimiter, strict=True)) != [cells]
    except csv.Error:
        return True


class TextTable:
    """CSV, TSV and TXT, with or without a header; without one, the columns are named 1, 2, ...

    Args:
        url: of the file.
        header_names: see `open_table`.

    Raises:
        UserError: for UTF-16.
    """

    def __init__(self, url: str, header_names: Collection[str]) -> None:
        self.url = url
        with open_text(url) as text:
            head = text.read(HEAD)
            if len(head) == HEAD:
                head = head[: head.rfind("\n") + 1] or head
        if head[:2] in UTF_16:
            raise UserError(f"{hide_secrets(url)}: is UTF-16; save it as UTF-8")
        self.delimiter, self.header = find_delimiter(head, url, header_names)
        rows = [cells for _, cells in split_rows(io.StringIO(head, newline=""), self.delimiter)]
        first = rows[0] if rows else []
        self.sample = rows[:SAMPLE]
        self.columns = (
            [cell.strip() for cell in first]
            if self.header
            else [str(number + 1) for number in range(len(first))]
        )

    def read_rows(self, picture: str, caption: str) -> Iterator[Cells]:
        """See TableFile."""
        width = len(self.columns)
        indices = [self.columns.index(name) if name else width for name in (picture, caption)]
        with open_text(self.url) as text:
            rows = split_rows(text, self.delimiter, width)
            if self.header:
                next(rows, None)
            for number, cells in rows:
                if len(cells) > width and any(cells[width:]):
                    fault = f"{len(cells)} cells where the first row has {width}: a quote too few?"
                    yield Cells(number, fault=fault)
                else:
                    padded = [*cells[:width], *[None] * (width + 1 - len(cells[:width]))]
                    yield Cells(number, padded[indices[0]], padded[indices[1]])


def find_delimiter(head: str, url: str, header_names: Collection[str]) -> tuple[str, bool]:
    """Find the delimiter of a text, and whether its first line is a header.

    Args:
        head: its first lines.
        url: of the file; a .tsv is delimited by tabs.
        header_names: names in small letters, by which a line is known to be a header.
    """
    name = url.lower().removesuffix(".gz")
    first = next((line for line in head.splitlines() if line.strip()), "")

    def count(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([first], delimiter=delimiter), [])
        return sum(cell.strip().lower() in header_names for cell in cells), len(cells)

    best = max(("\t",) if name.endswith(".tsv") else DELIMITERS, key=count)
    if count(best)[0]:
        return best, True
    return ("," if name.endswith(".csv") and "\t" not in first else "\t"), False
