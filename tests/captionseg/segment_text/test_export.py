"""SA-1B files that COCO's tools read, with the texts."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pycocotools import mask as coco

from captionseg import cli
from captionseg.records import PAIRS, SEGMENTS, UserError
from captionseg.segment_text import export
from captionseg.segment_text.export import export_sa1b
from captionseg.segment_text.rle import encode
from captionseg.storage.writing import write_json, write_table

TEXTS = [{"text": "a dog", "kind": "phrase", "score": 0.5, "caption": 1, "count": 2}]


def segment(uid: str, number: int = 0) -> dict:
    mask = np.zeros((1, 4, 6), bool)
    mask[0, 1:3, 1:5] = True
    (rle,), _, (box,) = encode(mask)
    return {
        "uid": uid,
        "segment_id": f"{uid}{number}",
        "width": 6,
        "height": 4,
        "rle": rle,
        "bbox": box.tolist(),
        "area": 8,
        "stability": 0.5,
        "score": 0.5,
        "full_image": False,
        "source": "x",
        "texts": TEXTS,
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Images u and v in one shard, w in the next; of u two segments, of v three."""
    shards = {"00000": {"u": 2, "v": 3, "without": 0}, "00001": {"w": 1}}
    for number, (shard, images) in enumerate(shards.items()):
        rows = [segment(uid, i) for uid, count in images.items() for i in range(count)]
        write_table(
            pa.Table.from_pylist(rows, schema=SEGMENTS), tmp_path / "segments" / f"{shard}.parquet"
        )
        write_json({"images": 1}, tmp_path / "segments" / f"{shard}_stats.json")
        pairs = [
            dict.fromkeys(PAIRS.names) | {"uid": u, "key": f"{number:05d}000{i}"}
            for i, u in enumerate(images)
        ]
        write_table(
            pa.Table.from_pylist(pairs, schema=PAIRS), tmp_path / "pairs" / f"{shard}.parquet"
        )
    return tmp_path


def run(data: Path, out: str = "out") -> int:
    return export_sa1b(data / "segments", data / "pairs", data / out)


@pytest.mark.parametrize("rows", [1, 2, 512])
def test_a_file_for_each_image_however_few_rows_are_read_at_once(
    data: Path, rows: int, monkeypatch
) -> None:
    monkeypatch.setattr(export, "ROWS", rows)
    assert run(data) == 3
    read = {path.name: json.loads(path.read_text()) for path in (data / "out").iterdir()}
    assert {name: len(image["annotations"]) for name, image in read.items()} == {
        "000000000.json": 2,
        "000000001.json": 3,
        "000010000.json": 1,
    }
    first = read["000000000.json"]
    assert first["image"] == {
        "image_id": 0,
        "file_name": "000000000.jpg",
        "uid": "u",
        "width": 6,
        "height": 4,
    }
    assert [image["image"]["image_id"] for _, image in sorted(read.items())] == [0, 1, 2]
    for annotation in first["annotations"]:
        assert coco.area(annotation["segmentation"]) == annotation["area"] == 8
        assert (
            coco.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"] == [1, 1, 4, 2]
        )
        assert annotation["texts"] == TEXTS
    assert [annotation["id"] for annotation in first["annotations"]] == [0, 1]


def refused(data: Path) -> str:
    with pytest.raises(UserError) as error:
        run(data)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_nothing_is_mixed_into_what_is_there(data: Path) -> None:
    run(data)
    before = {p: p.read_bytes() for p in (data / "out").iterdir()}
    assert "out is not empty" in refused(data)
    assert {p: p.read_bytes() for p in (data / "out").iterdir()} == before
    (data / "empty").mkdir()
    assert run(data, "empty") == 3
    (data / "file").touch()
    with pytest.raises(UserError, match=r"file: cannot be used: .*File exists"):
        run(data, "file")


def test_what_is_missing_broken_or_of_others_is_one_line(data: Path) -> None:
    (data / "pairs" / "00001.parquet").rename(data / "gone")
    assert "00001.parquet: no such file; run" in refused(data)
    (data / "gone").rename(data / "pairs" / "00001.parquet")
    for path in (data / "out").iterdir():
        path.unlink()
    write_table(
        pa.Table.from_pylist([segment("x")], schema=SEGMENTS), data / "segments" / "00001.parquet"
    )
    assert "image x is not in" in refused(data)
    for path in (data / "out").iterdir():
        path.unlink()
    old = pa.Table.from_pylist([segment("w")], schema=SEGMENTS).drop_columns(["texts"])
    write_table(old, data / "segments" / "00001.parquet")
    assert "not segments of this version" in refused(data)
    assert not (data / "out" / "000000000.json").exists()  # found out before anything is written
    (data / "segments" / "00001.parquet").write_bytes(b"PAR1")
    assert "00001.parquet: cannot be used:" in refused(data)
    for path in (data / "segments").glob("*.parquet"):
        path.unlink()
    assert "no segments; make them first: `dvc repro segment_text`" in refused(data)


def test_as_a_command(data: Path, capsys) -> None:
    folders = ["--segments", str(data / "segments"), "--pairs", str(data / "pairs")]
    assert cli.main(["export-segments", str(data / "out"), *folders]) == 0
    assert capsys.readouterr().out == f"3 files in {data / 'out'}\n"
    assert cli.main(["export-segments", str(data / "out"), *folders]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert (
        cli.main(["export-segments", str(data / "new"), "--segments", str(data / "nowhere")]) == 1
    )
    assert capsys.readouterr().err == (
        f"error: {data / 'nowhere'}: no segments; make them first: `dvc repro segment_text`\n"
    )
    assert not (data / "new").exists()
