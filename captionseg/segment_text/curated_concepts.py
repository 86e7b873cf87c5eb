"""Reads the concepts that curation found."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from captionseg.records import UserError
from captionseg.supervision.parquet_files import BEST, read_best


def read_concepts(supervision: Path, curation: str, limit: int, *, shard: str) -> pa.Table:
    """Read `uid` of the rows of a shard, and `concepts`: those of highest score, null for a row
    that is not kept. There is no row where the rule has no file of the shard.

    Args:
        supervision: folder with a subfolder for each curation rule.
        curation: name of the rule.
        limit: concepts an image.
        shard: the shard.

    Raises:
        UserError: if there is no supervision of that rule.
    """
    if not any((supervision / curation).glob("*.parquet")):
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
    file = supervision / curation / f"{shard}.parquet"
    return read_best(file, limit) if file.exists() else BEST.empty_table()
