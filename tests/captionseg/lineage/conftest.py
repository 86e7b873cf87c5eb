"""The files of a run as the stages leave them, without a picture or a model in them."""

from __future__ import annotations

import hashlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from captionseg import cli
from captionseg.datasets.ids import hash_ids, stream_ids
from captionseg.records import IDS, NEIGHBOURS, PAIRS, SEGMENTS, SIMILARITIES, SUPERVISION, make_uid
from captionseg.sources.phash import hash_jpeg
from captionseg.storage.writing import write_array, write_json, write_table

HOSTILE = "\u732b \U0001f408 caf\u00e9 \x1b[31m\u202egod\u2066\x00\x9b2J\nnext"
"""A caption of any script, with what would move a cursor or turn the line."""

CAPTIONS = {"cat": ("a cat", "a cat sleeps"), "dog": ("a dog",), "odd": (HOSTILE,)}


def draw(name: str) -> bytes:
    """A JPEG of smooth noise that its name decides."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC).save(stream, "JPEG")
    return stream.getvalue()


def make_row(number: int, name: str, caption: str, split: str, **changes) -> dict:
    jpeg = draw(name)
    url = f"https://example.org/{name}.jpg"
    return {
        "uid": make_uid(url, caption),
        "key": f"{split == 'test':05d}{number:04d}",
        "url": url,
        "caption": caption,
        "split": split,
        "status": "success",
        "error_message": None,
        "sha256": hashlib.sha256(jpeg).hexdigest(),
        "width": 64,
        "height": 48,
        "original_width": 640,
        "original_height": 480,
        "original_sha256": hashlib.sha256(jpeg + b"original").hexdigest(),
        "phash": hash_jpeg(jpeg),
        "reason": None,
        "held_out_captions": ["held out"],
        "source_row": f"captions.csv:{number + 2}",
    } | changes


def write_shard(pairs, shard: str, rows: list[dict]) -> None:
    write_table(pa.Table.from_pylist(rows, schema=PAIRS), pairs / f"{shard}.parquet")
    done = sum(row["status"] == "success" for row in rows)
    write_json({"count": len(rows), "successes": done}, pairs / f"{shard}_stats.json")
    (pairs / f"{shard}.tar").write_bytes(b"")


def list_rows() -> tuple[list[dict], list[dict]]:
    train = [
        make_row(n, name, caption, "train")
        for n, (name, caption) in enumerate(
            (name, caption) for name, captions in CAPTIONS.items() for caption in captions
        )
    ]
    nothing = dict.fromkeys(("sha256", "width", "height", "original_sha256", "phash"))
    failed = {"status": "failed_to_download", "reason": "not_found", "error_message": "404 \x1b[2J"}
    train.append(make_row(4, "gone", "a ghost", "train", **nothing, **failed))
    return train, [make_row(0, "copy", "a cat again", "test", sha256=train[0]["sha256"])]


def write_index(data, rows) -> None:
    ids = [
        {"row": n, "fold": 0, "uid": r["uid"], "key": r["key"], "split": r["split"]}
        | {"shard": "00000" if r["split"] == "train" else "00001"}
        for n, r in enumerate(rows)
    ]
    write_table(pa.Table.from_pylist(ids, schema=IDS), data / "index" / "ids.parquet")
    near = np.array([[(n + 1) % len(rows), -1] for n in range(len(rows))], np.int32)
    write_array(near, data / "index" / NEIGHBOURS)
    similarity = np.array([[0.75, -np.inf]] * len(rows), np.float16)
    write_array(similarity, data / "index" / SIMILARITIES)


def write_made(data, train) -> None:
    concept = {"text": "cat", "score": 1.5, "score_a": 0.5, "score_b": float("nan"), "weight": 1.0}
    concept |= {"support": 3, "cluster": -1, "rule": "cocu"}
    for rule, dropped in (("nouns", 2), ("cocu", 0)):
        rows = [
            {"uid": r["uid"], "kept": n != dropped, "concepts": [concept]}
            | {"drop_reason": "duplicate of \x07 something" if n == dropped else None}
            for n, r in enumerate(train)
        ]
        table = pa.Table.from_pylist(rows, schema=SUPERVISION)
        write_table(table, data / "supervision" / rule / "00000.parquet")
    text = {"text": "the \x1bcat", "kind": "phrase", "score": 1.0, "caption": 0, "count": 1}
    segment = {"uid": train[0]["uid"], "segment_id": "ab" * 20, "width": 64, "height": 48}
    segment |= {"rle": "x", "bbox": [0.0, 0.0, 32.0, 48.0], "area": 1536, "stability": 1.0}
    segment |= {"score": 1.0, "full_image": False, "source": "x+y", "texts": [text]}
    table = pa.Table.from_pylist([segment], schema=SEGMENTS)
    write_table(table, data / "segments" / "00000.parquet")


def write_models(models, ids: str) -> None:
    for name, loss in (("cocu-mil", {"loss": 1.0}), ("nouns-mil", {"loss": 2.0}), ("frozen", {})):
        context = {"recipe": name, "data": {"source": "urls", "ids": ids}}
        write_json({"model": "segment_mil", "context": context}, models / name / "config.json")
        write_json(loss, models / name / "seeds" / "3" / "fit.json")


@pytest.fixture
def run(tmp_path, monkeypatch) -> SimpleNamespace:
    """A run in the current folder; `train` and `test` are its rows."""
    monkeypatch.chdir(tmp_path)
    train, test = list_rows()
    write_shard(tmp_path / "data" / "pairs", "00000", train)
    write_shard(tmp_path / "data" / "pairs", "00001", test)
    made = [row for row in train if row["status"] == "success"]
    write_index(tmp_path / "data", [*made, *test])
    write_made(tmp_path / "data", made)
    write_models(tmp_path / "models", hash_ids(stream_ids(tmp_path / "data" / "index")))
    (tmp_path / "params.yaml").write_text(
        "recipes:\n  cocu-mil: {curation: cocu}\n  nouns-mil: {curation: nouns}\n"
        "  frozen: {curation: nouns}\n"
    )
    return SimpleNamespace(root=tmp_path, train=train, test=test)


def trace(capsys, *words: str) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr."""
    code = cli.main(["trace", *words])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def history(capsys, *words: str) -> dict:
    code, lines, _ = trace(capsys, *words, "--json")
    assert code == 0
    return json.loads("\n".join(lines))
