"""Data as people keep them, in small: every layout that a source reads, written from the same
pictures.

By default pictures are noise of 40 x 30 pixels, number by number. Picture 3 is no picture at all.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.captionseg.sources.conftest import encoded, noise

BROKEN = 3
GONE = 5
"""A picture that a table names and that is not there, or that img2dataset could not get."""

Draw = Callable[[int], bytes]
"""Number of a picture -> its bytes."""
Say = Callable[[int, int], str]
"""Number of a picture, number of its caption -> the caption."""


def draw(number: int) -> bytes:
    """The bytes of a picture."""
    if number == BROKEN:
        return b"\xff\xd8\xff but no picture"
    return encoded(noise(number), "JPEG", quality=90)


def say(number: int, nth: int) -> str:
    """A caption like no other."""
    return f"picture {number}, said {nth}"


def say_once(number: int, nth: int) -> str:
    """The same caption however often it is asked for."""
    return f"picture {number}"


def write_kaggle(
    root: Path, count: int, captions: int = 5, *, draw: Draw = draw, say: Say = say
) -> Path:
    """`Images/` and `captions.txt`, a row per caption; the last caption stands apart."""
    (root / "Images").mkdir(parents=True)
    rows = []
    for number in range(count):
        if number != GONE:
            (root / "Images" / f"{number}.jpg").write_bytes(draw(number))
        rows += [(f"{number}.jpg", say(number, n)) for n in range(captions - 1)]
    rows += [(f"{n}.jpg", say(n, captions - 1)) for n in range(count)]
    with (root / "captions.txt").open("w", newline="") as stream:
        csv.writer(stream).writerows([("image", "caption"), *rows])
    return root


def write_image_folder(root: Path, count: int, kind: str) -> Path:
    """Pictures, and metadata.csv, .jsonl or .parquet beside them, also as .gz."""
    root.mkdir(parents=True)
    rows = [{"file_name": f"{n}.jpg", "text": f"picture {n}"} for n in range(count)]
    for number in range(count):
        (root / f"{number}.jpg").write_bytes(draw(number))
    stream: Any = io.BytesIO()
    if kind.startswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), stream)
    elif kind.startswith("jsonl"):
        stream.write("".join(json.dumps(row) + "\n" for row in rows).encode())
    else:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["file_name", "text"])
        writer.writeheader()
        writer.writerows(rows)
        stream.write(text.getvalue().encode())
    data = stream.getvalue()
    (root / f"metadata.{kind}").write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    return root


def write_coco(
    root: Path, count: int, captions: int = 5, *, draw: Draw = draw, say: Say = say
) -> Path:
    """`annotations/captions_mini.json` and `mini/`, as COCO's archives have them."""
    (root / "mini").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, annotations = [], []
    for number in range(count):
        name = f"{number:012d}.jpg"
        if number != GONE:
            (root / "mini" / name).write_bytes(draw(number))
        url = f"http://images.example/{name}"
        images.append({"id": 100 + number, "file_name": name, "license": 4, "coco_url": url})
        for n in range(captions):
            text = say(number, n)
            entry = {"id": len(annotations), "image_id": 100 + number, "caption": text}
            annotations.append(entry)
    content = {
        "info": {"year": 2026},
        "licenses": [{"id": 4, "name": "Some licence", "url": "http://licence.example"}],
        "images": images,
        "annotations": annotations,
    }
    (root / "annotations" / "captions_mini.json").write_text(json.dumps(content))
    return root / "annotations" / "captions_mini.json"


def describe(number: int, shard: int, caption: str) -> dict[str, Any]:
    """The row of img2dataset's table of a picture."""
    gone = number == GONE
    return {
        "url": f"http://images.example/{number}.jpg",
        "caption": caption,
        "key": f"{shard:05d}{number:04d}",
        "status": "failed_to_download" if gone else "success",
        "error_message": "HTTP Error 404: Not Found" if gone else None,
        "width": None if gone else 40,
        "height": None if gone else 30,
        "original_width": None if gone else 400,
        "original_height": None if gone else 300,
        "sha256": None if gone else f"{number:064x}",
    }


def write_img2dataset(
    root: Path,
    count: int,
    form: str,
    shard_size: int = 8,
    *,
    draw: Draw = draw,
    say: Say = say_once,
) -> Path:
    """What img2dataset writes in the form webdataset, files or parquet."""
    root.mkdir(parents=True)
    for shard in range(-(-count // shard_size)):
        numbers = range(shard * shard_size, min(count, (shard + 1) * shard_size))
        rows = [describe(number, shard, say(number, 0)) for number in numbers]
        good = [(row, draw(n)) for row, n in zip(rows, numbers) if row["status"] == "success"]
        stem = root / f"{shard:05d}"
        if form == "parquet":
            images = {row["key"]: data for row, data in good}
            rows = [row | {"jpg": images.get(row["key"])} for row in rows]
        else:
            files = [
                (f"{row['key']}{end}", part)
                for row, data in good
                for end, part in (
                    (".jpg", data),
                    (".txt", row["caption"].encode()),
                    (".json", json.dumps(row).encode()),
                )
            ]
            write_tar(Path(f"{stem}.tar"), files) if form == "webdataset" else stem.mkdir()
            for name, data in files if form == "files" else ():
                (stem / name).write_bytes(data)
        pq.write_table(pa.Table.from_pylist(rows), f"{stem}.parquet")
        Path(f"{stem}_stats.json").write_text(json.dumps({"count": len(rows)}))
    return root


def write_tar(path: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    """A tar of files."""
    with tarfile.open(path, "w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_webdataset(path: Path, samples: Mapping[str, Mapping[str, bytes]]) -> Path:
    """A tar of samples: key -> suffix -> bytes."""
    files = [(f"{key}.{suffix}", data) for key, s in samples.items() for suffix, data in s.items()]
    return write_tar(path, files)
