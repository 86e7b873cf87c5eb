"""A small run of tables that meet every expectation, for tests to spoil."""

from __future__ import annotations

import copy
import io
import json
import tarfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from captionseg.expectations.coverage_tables import CoverageParams, Folders
from captionseg.records import DROPPED, IDS, MARKS, PAIRS, SEGMENTS, SUPERVISION, TRUTH, make_uid
from captionseg.segment_text.rle import encode
from captionseg.storage.packed import SUFFIX, write_packed
from captionseg.storage.writing import write_array, write_json, write_table
from tests.imported_late import import_late

runner = import_late("captionseg.expectations.runner")
coverage = import_late("captionseg.expectations.coverage")
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
    shard: int = 2 * COUNT  # pairs a shard
    marks: list[dict] = field(default_factory=list)

    @property
    def folders(self) -> Folders:
        names = (
            "pairs",
            "truth",
            "index",
            "features",
            "regions",
            "supervision",
            "segments",
            "curation.json",
        )
        return Folders(*(self.folder / name for name in names))

    @property
    def asked(self) -> CoverageParams:
        return CoverageParams(list(self.supervision), "train", "nouns")

    def write(self) -> Run:
        """All tables, and what earlier stages leave beside them: of the rows as they are now,
        spoilt or not.
        """
        indexed = []
        for number, start in enumerate(range(0, len(self.pairs), self.shard)):
            pairs, name = self.pairs[start : start + self.shard], f"{number:05d}"
            there = [row for row in pairs if row["status"] == "success"]
            indexed += [{**row, "shard": name} for row in there]
            self.save(pairs, PAIRS, "pairs", name)
            write_json(
                {"count": len(pairs), "successes": len(there)},
                self.folder / "pairs" / f"{name}_stats.json",
            )
            write_tar(self.folder / "pairs" / f"{name}.tar", pairs[0])
            self.save([], TRUTH, "truth", name)
            embeddings = dict.fromkeys(("img_emb", "text_emb"), ".npy")
            for folder, kinds in (*coverage().ARRAYS.items(), ("index", embeddings)):
                for kind, suffix in kinds.items():
                    file = self.folder / folder / kind / f"{kind}_{name}{suffix}"
                    write = write_packed if suffix == SUFFIX else write_array
                    write(np.zeros((len(there), 2)), file)
            write_array(
                np.full(len(there), 2, np.uint8),
                self.folder / "regions" / "count" / f"count_{name}.npy",
            )
            write_array(
                np.zeros((2 * len(there), 2)),
                self.folder / "features" / "regions" / f"regions_{name}.npy",
            )
            metadata = pa.table(
                {"uid": [row["uid"] for row in there], "caption": [row["caption"] for row in there]}
            )
            write_table(metadata, self.folder / "index" / "metadata" / f"metadata_{name}.parquet")
            at = slice(start, start + self.shard)
            if not self.supervision["nouns"][at]:
                continue
            for rule, rows in self.supervision.items():
                self.save(rows[at], SUPERVISION, "supervision", rule, name)
            self.save(self.segments[at], SEGMENTS, "segments", name)
            nouns, rows = self.supervision["nouns"][at], self.segments[at]
            counts = {
                **(self.counts if number == 0 else {}),
                "images": len(nouns),
                "segments": len(rows),
                "texts": sum(len(row["texts"]) for row in rows),
                "images_without_segments": len(nouns) - len({row["uid"] for row in rows}),
            }
            write_json(counts, self.folder / "segments" / f"{name}_stats.json")
        ids = [
            {"row": row, "fold": 0, **{k: p[k] for k in ("uid", "shard", "key", "split")}}
            for row, p in enumerate(indexed)
        ]
        write_table(pa.Table.from_pylist(ids, schema=IDS), self.folder / "index" / "ids.parquet")
        for name in coverage().NEAR:
            write_array(np.zeros((len(ids), 0), np.int32), self.folder / "index" / name)
        for name in ("image", "text"):
            (self.folder / "index" / f"{name}.index").write_bytes(b"")
        vocabulary = self.folder / "supervision" / "vocabulary"
        write_table(pa.table({"text": ["dog", "cat"]}), vocabulary / "concepts.parquet")
        write_array(np.zeros((2, 3)), vocabulary / "embedding.npy")
        self.save(self.marks, MARKS, "supervision", "marks", "marks")
        dropped = Counter(row["kind"] for row in self.marks)
        write_json(
            ({DROPPED: dropped} if dropped else {})
            | {
                rule: {
                    "kept": float(np.mean([bool(row["kept"]) for row in rows])),
                    "concepts_per_image": float(
                        np.mean([len(row["concepts"] or []) for row in rows])
                    ),
                }
                for rule, rows in self.supervision.items()
            },
            self.folder / "curation.json",
        )
        return self

    def save(self, rows: list[dict], schema: pa.Schema, *where: str) -> None:
        *folders, name = where
        write_table(
            pa.Table.from_pylist(rows, schema=schema),
            self.folder.joinpath(*folders, f"{name}.parquet"),
        )


def write_tar(path: Path, row: dict) -> None:
    """A shard's tar as far as anybody looks into it here: what stands beside the first picture."""
    data = json.dumps({"uid": row["uid"], "split": row["split"]}).encode()
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo(f"{row['key']}.json")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))


def pair(number: int) -> dict:
    caption = f"a dog number {number}"
    return {
        "uid": make_uid(f"x:{number}", caption),
        "key": f"{number:09d}",
        "url": f"x:{number}",
        "caption": caption,
        "split": "train",
        "status": "success",
        "error_message": None,
        "sha256": f"{number:064x}",
        "width": 20,
        "height": 10,
    }


def concept(rule: str) -> dict:
    score_b = 1.1 if rule == "cocu" else float("nan")
    return {
        "text": "dog",
        "score": 1.0,
        "score_a": 0.6,
        "score_b": score_b,
        "weight": 0.5,
        "support": 3,
        "cluster": -1,
        "rule": rule,
    }


def segment(uid: str) -> dict:
    mask = np.zeros((1, 10, 20), bool)
    mask[0, 2:6, 3:9] = True
    (rle,), (area,), (box,) = encode(mask)
    texts = [
        {"text": "a dog", "kind": "phrase", "score": 0.8, "caption": 1, "count": 2},
        {"text": "dog", "kind": "concept", "score": 0.7, "caption": -1, "count": 1},
    ]
    return {
        "uid": uid,
        "segment_id": f"s{uid}",
        "width": 20,
        "height": 10,
        "rle": rle,
        "bbox": box.tolist(),
        "area": int(area),
        "stability": 0.9,
        "score": 0.8,
        "full_image": False,
        "source": "t+f",
        "texts": texts,
    }


def good(folder: Path) -> Run:
    """Pairs, the last of which failed; two rules, one of which dropped a row; a segment an
    image."""
    pairs = [pair(i) for i in range(COUNT)]
    pairs[-1] |= {
        "status": "failed_to_download",
        "error_message": "404",
        "sha256": None,
        "width": None,
        "height": None,
    }
    uids = [p["uid"] for p in pairs[:-1]]
    supervision = {
        rule: [
            {"uid": uid, "kept": True, "drop_reason": None, "concepts": [concept(rule)]}
            for uid in uids
        ]
        for rule in ("nouns", "cocu")
    }
    supervision["cocu"][-1] |= {"kept": False, "drop_reason": "no_concept", "concepts": []}
    counts = {
        "images": len(uids),
        "captions": 78,
        "captions_cut": 0,
        "captions_generated": 38,
        "captions_failed": 1,
        "captions_missing": 1,
        "boxes": 60,
        "boxes_unassigned": 20,
    }
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


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, Any]]:
    """Results of `runner.check` by what was checked."""
    return {}


@pytest.fixture
def changes_alone(known: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty tables most tests spoil one: those that are as in an earlier test are not checked
    again, and no docs are built, at which other tests look.
    """
    whole = runner().check

    def check(suite: Any, context: Any, source: Any, examples: int) -> dict[str, Any]:
        asked = [expectation.json() for expectation in suite.expectations]
        frame = suite.read()
        rows = frame.to_dict("list"), frame.dtypes.to_dict()
        of = repr((suite.name, suite.key, rows, asked, examples))
        if of not in known:
            known[of] = whole(suite, context, source, examples)
        return copy.deepcopy(known[of])

    monkeypatch.setattr(runner(), "check", check)
    monkeypatch.setattr(
        runner(), "write_docs", lambda context, docs, tables: docs.mkdir(exist_ok=True)
    )
