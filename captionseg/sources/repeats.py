"""Repeated pairs of a listing: the same image with the same caption counts once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from captionseg.records import make_uid
from captionseg.storage.writing import atomic_path


def hash_pair(row: dict[str, Any]) -> int:
    """64 bits of image and caption of a row of ROWS: equal for equal pairs."""
    return int(make_uid(row["picture"], row["caption"])[:16], 16)


def refuse_repeats(folder: Path, hashes: dict[str, np.ndarray]) -> None:
    """Refuse the rows of a listing whose pair an earlier row has, of any split.

    Args:
        folder: of the listing.
        hashes: split -> `hash_pair` of its rows, in order; uint64 [N].
    """
    unique, counts = np.unique(np.concatenate(list(hashes.values())), return_counts=True)
    repeated, seen = set(unique[counts > 1].tolist()), set()
    for split, codes in hashes.items():
        if not repeated or not np.isin(codes, list(repeated)).any():
            continue
        path, offset = folder / f"{split}.arrow", 0
        with (
            atomic_path(path) as part,
            pa.ipc.open_file(str(path)) as old,
            pa.ipc.new_file(str(part), old.schema) as new,
        ):
            for number in range(old.num_record_batches):
                rows = old.get_batch(number).to_pylist()
                for row, code in zip(
                    rows, codes[offset : offset + len(rows)].tolist(), strict=True
                ):
                    if code in repeated and code in seen and row["error"] is None:
                        row |= {"error": "the same picture and caption as an earlier row"}
                        row |= {"reason": "repeated_row"}
                    seen.add(code) if code in repeated else None
                offset += len(rows)
                new.write_table(pa.Table.from_pylist(rows, schema=old.schema))
