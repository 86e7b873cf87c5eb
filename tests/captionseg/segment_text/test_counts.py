"""Counts of shards are added up, and each that is written is explained."""

from pathlib import Path

import numpy as np

from captionseg.grounding.grounder import Boxes
from captionseg.segment_text import counts
from captionseg.segment_text.maker import count_requests
from captionseg.storage.writing import write_json


def test_counts_of_shards_are_added_up(tmp_path: Path) -> None:
    assert not counts.read_counts(tmp_path)
    write_json({"images": 2, "boxes": 3}, tmp_path / "00000_stats.json")
    write_json({"images": 1, "phrases": 5}, tmp_path / "00001_stats.json")
    assert counts.read_counts(tmp_path) == {"images": 3, "boxes": 3, "phrases": 5}


def test_each_count_of_what_was_asked_is_explained() -> None:
    none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.float32))
    assert [name for name in count_requests([], none) if name not in (counts.__doc__ or "")] == []
