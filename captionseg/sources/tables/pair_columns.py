"""Which column of a table names the image, and which holds its captions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from captionseg.records import UserError, one_line
from captionseg.sources.tables.delimited import TextTable
from captionseg.sources.tables.table_formats import TableFile

URLS = ("url", "image_url", "URL")
FILES = ("file_name", "image", "filename", "image_path", "filepath", "image_name")
CAPTIONS = ("caption", "captions", "text", "TEXT", "sentences", "comment", "title", "raw")
"""Names that need not be configured; the first that the table has is used."""

PICTURE = re.compile(
    r"\w+://\S+|.*\.(jpe?g|png|webp|gif|bmp|tiff?|avif)(#\d+)?", re.IGNORECASE | re.DOTALL
)
"""Pattern of a cell that names an image."""


@dataclass(frozen=True)
class Columns:
    """The columns that the params ask for.

    Attributes:
        section: of params.yaml, which has them as `picture_column` and `caption_column`.
        picture, caption: their names, or numbers from 1 in a file without a header; empty where
            they are to be found.
        pictures: default names of the column of images.
    """

    section: str
    picture: str = ""
    caption: str = ""
    pictures: Sequence[str] = FILES

    @property
    def known(self) -> set[str]:
        """Names in lower case by which a line is recognised as a header."""
        chosen = (name for name in (self.picture, self.caption) if not name.isdigit())
        return {name.strip().lower() for name in (*self.pictures, *CAPTIONS, *chosen)} - {""}

    def choose(self, table: TableFile, name: str) -> tuple[str, str]:
        """The columns of images and of captions; the latter is empty if a file without a header has
        only images.

        Args:
            table: opened.
            name: of the file, for messages.

        Raises:
            UserError: if one is missing or several fit; with the columns of the table.
        """
        if isinstance(table, TextTable) and not table.header and not (self.picture or self.caption):
            return self._guess(table, name)
        picture = self._find(table.columns, self.picture, self.pictures, "picture", name)
        caption = self._find(table.columns, self.caption, CAPTIONS, "caption", name)
        if picture == caption:
            raise UserError(f"{name}: {picture!r} cannot be picture and caption at once")
        return picture, caption

    def _find(
        self,
        columns: Sequence[str],
        chosen: str,
        default_names: Sequence[str],
        role: str,
        file: str,
    ) -> str:
        for name in (chosen,) if chosen else default_names:
            matches = [column for column in columns if column == name]
            if not matches and name == name.lower():
                matches = [column for column in columns if column.strip().lower() == name]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise self._refuse(columns, f"several columns are called {name!r}", role, file)
        problem = f"no column is called {chosen!r}" if chosen else f"no column of {role}s is known"
        raise self._refuse(columns, problem, role, file)

    def _refuse(self, columns: Sequence[str], fault: str, role: str, file: str) -> UserError:
        names = one_line(", ".join(columns), 300) or "none"
        return UserError(
            f"{file}: {fault}; set {self.section}.{role}_column to one of its columns: {names}"
        )

    def _guess(self, table: TextTable, file: str) -> tuple[str, str]:
        """Find the column of URLs or names of image files by the cells of the first rows."""
        rows = [row for row in table.sample if len(row) == len(table.columns)]
        picture_like = [
            name
            for number, name in enumerate(table.columns)
            if rows
            and 2 * sum(bool(PICTURE.fullmatch(row[number].strip())) for row in rows) > len(rows)
        ]
        others = [name for name in table.columns if name not in picture_like]
        if len(picture_like) != 1 or len(others) > 1:
            first = one_line(", ".join(table.sample[0]), 120) if table.sample else "none"
            raise UserError(
                f"{file}: the columns have no known names; set {self.section}.picture_column and "
                f"caption_column to names, or to numbers of columns; the first row: {first}"
            )
        return picture_like[0], "".join(others)
