"""Reads the concepts that curation found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from captionseg.records import UserError
from captionseg.supervision.parquet_files import read


def read_concepts(supervision: Path, curation: str, limit: int) -> Mapping[str, list[str] | None]:
    """uid -> the concepts of highest score of each row, None for a row that is not kept.

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
    result = read(supervision / curation)
    rows = zip(result.uid, result.kept, result.to_texts(), strict=True)
    return {uid: texts[:limit] if kept else None for uid, kept, texts in rows}
