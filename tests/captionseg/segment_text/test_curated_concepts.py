from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.segment_text.curated_concepts import read_concepts
from captionseg.supervision.parquet_files import write
from tests.captionseg.supervision.rows import Concept, supervision_of


def test_concepts_of_kept_rows_best_first(tmp_path: Path) -> None:
    rows = [(Concept("dog"), Concept("grass"), Concept("sky")), (Concept("cat"),), ()]
    kept, reasons = [True, False, True], ["", "duplicate", ""]
    supervision = supervision_of("abc", rows, kept=kept, reasons=reasons)
    write(supervision, tmp_path / "cocu" / "00000.parquet")
    found = read_concepts(tmp_path, "cocu", 2, shard="00000").to_pydict()
    assert found == {"uid": ["a", "b", "c"], "concepts": [["dog", "grass"], None, []]}
    with pytest.raises(
        UserError, match=r"segment_text.curation: no supervision of 'coco'.*\(there: cocu\)"
    ):
        read_concepts(tmp_path, "coco", 2, shard="00000")
    assert len(read_concepts(tmp_path, "cocu", 2, shard="00001")) == 0
