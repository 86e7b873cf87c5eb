"""Concepts, and rows that rules leave out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from captionseg.reporting.data_page.concept_statistics import count_concepts, count_drops
from captionseg.storage.writing import write_table
from captionseg.supervision import parquet_files
from tests.captionseg.supervision.rows import Concept, supervision_of


def test_concepts_and_what_rules_leave_out(tmp_path):
    uid = np.array(["0" * 32, "1" * 32], object)
    found = supervision_of(uid, ((Concept("cat"), Concept("dog")), (Concept("cat"),)))
    parquet_files.write(found, tmp_path / "nouns" / "00000.parquet")
    marked = parquet_files.to_table(found).to_pylist()
    marked[1] |= {"kept": False, "drop_reason": f"duplicate of {'0' * 32} (distance 3)"}
    marked_table = pa.Table.from_pylist(marked, schema=parquet_files.to_table(found).schema)
    write_table(marked_table, tmp_path / "cocu" / "00000.parquet")
    concepts = count_concepts(tmp_path, ["nouns", "cocu"], 1)
    assert concepts["top"] == [{"name": "cat", "count": 2, "size": 100.0, "counts": [2, 2]}]
    assert concepts["tail"][-1]["counts"] == [2, 2]
    assert [(row["kept"], row["reasons"]) for row in count_drops(tmp_path, ["nouns", "cocu"])] == [
        (2, []),
        (1, [("duplicate of … (distance …)", 1)]),
    ]
    assert count_concepts(tmp_path, [], 3) == {}
