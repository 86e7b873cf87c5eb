"""Reads the concepts that curation found."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from captionseg.records import UserError
from captionseg.supervision.parquet_files import read_best


def read_concepts(supervision: Path, curation: str, limit: int) -> pa.Table:
    """Read `uid` of all rows, and `concepts`: those of highest score, null for a row that is not
    kept.

    Args:
        supervision: folder with a subfolder for each curation rule.
        curation: name of the rule.
        limit: concepts an image.

    Raises:
        UserError: if there is no supervision of that rule.
    """
    files = sorted((supervision / curation).glob("*.parquet"))
    if not files:
        available = (
            ", ".join(
                sorted(p.name for p in supervision.iterdir() if any(p.glob("[0-9]*.parquet")))
            )
            or "none"
        )
        raise UserError(
            f"segment_text.curation: no supervision of {curation!r} in {supervision} "
            f"(there: {available})"
        )
    return read_best(supervision / curation, limit)
