"""Precomputed captions from a parquet file with a column `uid` or `url`, and one with captions."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from captionseg.captioners.captioner import NoCaption, hash_fields
from captionseg.records import UserError, one_line


class PrecomputedCaptioner:
    """A captioner that looks up precomputed captions.

    Args:
        names: [N] uids or urls, each once, sorted.
        texts: [N] captions.
        by: uid or url.
        key: see Captioner.
        where: the file, for messages.
    """

    batch = 256

    def __init__(self, names: pa.Array, texts: pa.Array, *, by: str, key: str, where: str) -> None:
        self.names, self.texts, self.by, self.key, self.where = names, texts, by, key, where

    def captions(
        self,
        images: Sequence[np.ndarray],
        originals: Sequence[str],
        *,
        uids: Sequence[str] = (),
        urls: Sequence[str] = (),
    ) -> list[str]:
        """See Captioner; the pictures are not used.

        Raises:
            NoCaption: naming the first picture without a caption.
        """
        keys = list(uids if self.by == "uid" else urls)
        if len(keys) != len(images):
            raise ValueError(f"{len(images)} pictures, {len(keys)} of {self.by}s")
        return [self._find(name) for name in keys]

    def _find(self, name: str) -> str:
        row = bisect_left(self.names, name, key=lambda scalar: scalar.as_py())
        if row == len(self.names) or self.names[row].as_py() != name:
            raise NoCaption(f"no caption for {self.by} {name} in {self.where}")
        return self.texts[row].as_py() or ""


@dataclass(frozen=True)
class PrecomputedParams:
    """Fields of `precomputed`.

    Attributes:
        file: parquet file with a row per picture; uid is used if it has both uid and url.
        column: name of the column with captions.
    """

    file: str = ""
    column: str = "caption"

    def build(self) -> PrecomputedCaptioner:
        """Load the captions.

        Raises:
            UserError: if the file is invalid, or has two captions for one picture.
        """
        by, table = self._read()
        names, texts = (table.sort_by(by)[name].combine_chunks() for name in (by, "text"))
        if names.null_count:
            raise UserError(
                f"precomputed.file: {self.file} has {names.null_count} rows without {by}; remove "
                "them"
            )
        functions: Any = pc  # type hints lack functions that are made on import
        if (twice := functions.index(functions.equal(names[1:], names[:-1]), True).as_py()) >= 0:
            raise UserError(
                f"precomputed.file: {self.file} has several rows for {by} {names[twice]}; keep one "
                "of each"
            )
        with Path(self.file).open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        key = hash_fields("precomputed", content=content, column=self.column)
        return PrecomputedCaptioner(names, texts, by=by, key=key, where=self.file)

    def _read(self) -> tuple[str, pa.Table]:
        """Return `uid` or `url`, and a table of this column and `text`, both strings."""
        option = "precomputed.file"
        try:
            columns = pq.read_schema(self.file).names
            by = next((name for name in ("uid", "url") if name in columns), None)
            if by is None or self.column not in columns:
                raise UserError(
                    f"{option}: {self.file} has columns {', '.join(columns)}; expected uid or url, "
                    f"and {self.column!r} (precomputed.column)"
                )
            table = pq.read_table(self.file, columns=[by, self.column])
            strings = [table[name].cast(pa.large_string()) for name in (by, self.column)]
        except FileNotFoundError:
            raise UserError(
                f"{option}: no file {self.file!r}; give a parquet file of captions"
            ) from None
        except (OSError, pa.ArrowException) as error:
            reason = one_line(error) or type(error).__name__
            raise UserError(
                f"{option}: {self.file} is not a parquet file of captions: {reason}"
            ) from None
        return by, pa.table({by: strings[0], "text": strings[1]})
