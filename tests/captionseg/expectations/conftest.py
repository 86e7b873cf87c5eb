"""A small run of tables that meet every expectation, for tests to spoil."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from captionseg.records import PAIRS, SEGMENTS, SUPERVISION, uid_of
from captionseg.segment_text.rle import encode
from captionseg.storage import write_json, write_table

COUNT = 40


@dataclass
class Run:
    """The rows of each table, and where they go."""

    folder: Path
    uids: list[str]
    pairs: list[dict]
    supervision: dict[str, list[dict]]
    segments: list[dict]
    counts: dict[str, int]

    def write(self) -> Run:
        self.save(self.pairs, PAIRS, "pairs")
        for rule, rows in self.supervision.items():
            self.save(rows, SUPERVISION, "supervision", rule)
        self.save(self.segments, SEGMENTS, "segments")
        write_json(self.counts, self.folder / "segments" / "00000_stats.json")
        return self

    def save(self, rows: list[dict], schema: pa.Schema, *where: str) -> None:
        write_table(pa.Table.from_pylist(rows, schema=schema), self.folder.joinpath(*where, "00000.parquet"))


def pair(number: int) -> dict:
    caption = f"a dog number {number}"
    return {
        "uid": uid_of(f"x:{number}", caption), "key": f"{number:09d}", "url": f"x:{number}", "caption": caption,
        "split": "train", "status": "success", "error_message": None, "sha256": "0" * 64, "width": 20, "height": 10,
    }  # fmt: skip


def concept(rule: str) -> dict:
    score_b = 1.1 if rule == "cocu" else float("nan")
    return {
        "text": "dog", "score": 1.0, "score_a": 0.6, "score_b": score_b, "weight": 0.5, "support": 3, "cluster": -1,
        "rule": rule,
    }  # fmt: skip


def segment(uid: str) -> dict:
    mask = np.zeros((1, 10, 20), bool)
    mask[0, 2:6, 3:9] = True
    (rle,), (area,), (box,) = encode(mask)
    texts = [{"text": "a dog", "kind": "phrase", "score": 0.8, "caption": 1, "count": 2},
             {"text": "dog", "kind": "concept", "score": 0.7, "caption": -1, "count": 1}]  # fmt: skip
    return {
        "uid": uid, "segment_id": f"s{uid}", "width": 20, "height": 10, "rle": rle, "bbox": box.tolist(),
        "area": int(area), "stability": 0.9, "score": 0.8, "full_image": False, "source": "t+f", "texts": texts,
    }  # fmt: skip


def good(folder: Path) -> Run:
    """Pairs, the last of which failed; two rules, one of which dropped a row; a segment an image."""
    pairs = [pair(i) for i in range(COUNT)]
    pairs[-1] |= {"status": "failed_to_download", "error_message": "404", "sha256": None, "width": None, "height": None}
    uids = [p["uid"] for p in pairs[:-1]]
    supervision = {
        rule: [{"uid": uid, "kept": True, "drop_reason": None, "concepts": [concept(rule)]} for uid in uids]
        for rule in ("nouns", "cocu")
    }
    supervision["cocu"][-1] |= {"kept": False, "drop_reason": "no_concept", "concepts": []}
    counts = {"images": len(uids), "captions": 78, "captions_cut": 0, "captions_generated": 38, "captions_failed": 1,
              "captions_missing": 1, "boxes": 60, "boxes_unassigned": 20}  # fmt: skip
    return Run(folder / "data", uids, pairs, supervision, [segment(uid) for uid in uids], counts)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return good(tmp_path)


@pytest.fixture(scope="module")
def module_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return good(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def module_run_of_shares(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return good(tmp_path_factory.mktemp("shares"))
