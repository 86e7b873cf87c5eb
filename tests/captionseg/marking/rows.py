"""Pairs as tests write them down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array

from captionseg.marking.marker import MarkedRows, Rows


def rows_of(count: int, **given: Any) -> Rows:
    """Training pairs of pictures that have nothing in common, with some columns in place of theirs.

    Args:
        count: N.
        given: columns of Rows as lists; `named` may be a list of sets of concepts.
    """
    columns: dict[str, Any] = {
        "uid": [f"{n:032x}" for n in range(count)],
        "caption": [f"a thing of number {n} on a table" for n in range(count)],
        "split": ["train"] * count,
        "picture": range(count),
        "digest": range(count),
        "phash": [(n * 0x9E3779B97F4A7C15) % 2**64 for n in range(1, count + 1)],
        "hashed": [True] * count,
        "width": [640] * count,
        "height": [480] * count,
        "descriptor": np.eye(count, dtype=np.float32),
    }
    columns |= given
    vocabulary: Sequence[str] = ()
    if (named := columns.pop("named", None)) is not None:
        vocabulary = sorted(set().union(*named))
        named = csr_array(np.array([[c in row for c in vocabulary] for row in named]))
    kinds = {"uid": object, "split": object, "phash": np.uint64, "hashed": bool}
    arrays = {
        name: np.array(list(values), kinds.get(name, np.int64))
        for name, values in columns.items()
        if name not in ("caption", "descriptor")
    }
    return Rows(
        caption=pa.array(columns["caption"], pa.string()),
        descriptor=np.asarray(columns["descriptor"], np.float32),
        named=named,
        vocabulary=vocabulary,
        **arrays,
    )


def captions_of(*captions: str) -> Rows:
    """Pairs with these captions."""
    return rows_of(len(captions), caption=captions)


def marked(marker: Any, rows: Rows, kept: Sequence[bool] | None = None, seed: int = 0) -> dict:
    """row -> (kind, reason, twin) of what a marker marks."""
    train = ~rows.held_out
    found: MarkedRows = marker(rows, train if kept is None else np.array(kept) & train, seed=seed)
    assert len(set(found.row.tolist())) == len(found.row)
    return {
        row: (kind, reason, twin)
        for row, kind, reason, twin in zip(
            found.row.tolist(), found.kind, found.reason, found.twin.tolist(), strict=True
        )
    }


def kinds_of(marker: Any, rows: Rows) -> dict[int, str]:
    """row -> kind of what a marker marks."""
    return {row: kind for row, (kind, _, _) in sorted(marked(marker, rows).items())}
