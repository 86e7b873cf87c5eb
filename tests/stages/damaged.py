"""Data with bad rows and without, and what each bad row comes to."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.captionseg.sources.layouts import write_tar
from tests.stages.given import draw, say

File = tuple[str, bytes]
HOSTILE = b"<p>a photo of<br/>\r\n a <b>blue</b>\0 ring &amp;\n\n a\x1b black\x00 star</p>"
CLEAN = b"a photo of a blue ring & a black star"
CUT = 100  # bytes of a picture that a tar ends in


def sample(number: int, text: bytes | None = None) -> list[File]:
    """A picture and its caption, as files of a tar."""
    text = say(number, 0).encode() if text is None else text
    return [(f"{number:04d}.jpg", draw(number)), (f"{number:04d}.txt", text)]


def samples(numbers: Iterable[int]) -> list[File]:
    """Several of them."""
    return [file for number in numbers for file in sample(number)]


def write_clean(root: Path) -> Path:
    """The good samples alone."""
    root.mkdir()
    write_tar(root / "0.tar", samples(n for n in range(100) if n != 50))
    write_tar(root / "1.tar", [*sample(100, CLEAN), *samples(range(101, 105))])
    write_tar(root / "2.tar", samples(range(105, 110)))
    return root


def write_damaged(root: Path) -> Path:
    """The same, and bad ones among them; what each comes to is in OUTCOMES."""
    root.mkdir()
    corrupt = [("0050.jpg", draw(50)[:300]), ("0050.txt", b"a corrupt picture")]
    write_tar(root / "0.tar", [*samples(range(50)), *corrupt, *samples(range(51, 100))])
    write_tar(
        root / "1.tar",
        [
            ("../up.jpg", draw(1)),
            ("../up.txt", b"a picture outside"),
            *sample(100, HOSTILE),
            *sample(101),
            *sample(101, b"another caption of the same key"),
            ("/etc/abs.jpg", draw(2)),
            ("mute.jpg", draw(3)),
            *samples([102, 103]),
            ("in/../../up.jpg", draw(4)),
            ("blind.txt", b"no picture at all"),
            *sample(104),
        ],
    )
    path = write_tar(root / "2.tar", samples(range(105, 115)))
    with tarfile.open(path) as tar:
        at = tar.getmember("0110.jpg").offset_data
    path.write_bytes(path.read_bytes()[: at + CUT])
    return root


OUTCOMES = {
    "0.tar:0050": "not_decodable",
    "1.tar:../up.jpg": "unsafe_path",
    "1.tar:../up.txt": "unsafe_path",
    "1.tar:/etc/abs.jpg": "unsafe_path",
    "1.tar:in/../../up.jpg": "unsafe_path",
    "1.tar:0101.jpg": "duplicate_key",
    "1.tar:0101.txt": "duplicate_key",
    "1.tar:mute": "no_caption",
    "1.tar:blind": "no_picture",
    "2.tar": "damaged_archive",
}
GOOD = 109


def write_kaggle(root: Path, *, damaged: bool) -> Path:
    """Kaggle's layout of 20 pictures with two captions each, with bad rows or without."""
    (root / "Images").mkdir(parents=True)
    lines = [b"image,caption"]
    for number in range(20):
        (root / "Images" / f"{number}.jpg").write_bytes(draw(number))
        text = say(number, 0).encode() if number != 5 else HOSTILE if damaged else CLEAN
        lines.append(b'%d.jpg,"%s"' % (number, text))
        if number == 9:
            text = b"a quote that is not closed"
            lines[-1] = b'9.jpg,"%s' % text if damaged else b'9.jpg,"""%s"' % text
        lines.append(b"%d.jpg,%s" % (number, say(number, 1).encode()))
    if damaged:
        (root.parent / "secret.jpg").write_bytes(draw(30))
        for name in ("mute", "latin", "cells"):
            (root / "Images" / f"{name}.jpg").write_bytes(draw(31))
        (root / "Images/corrupt.jpg").write_bytes(draw(32)[:300])
        lines[7:7] = [
            b"corrupt.jpg,a corrupt picture",
            b"../../secret.jpg,a picture outside",
            b"gone.jpg,a picture that is not there",
            b"mute.jpg,",
            b"latin.jpg,caf\xe9",
            b"cells.jpg,a comma, and another",
            b"2.jpg," + say(2, 0).encode(),  # is there already
        ]
    (root / "captions.txt").write_bytes(b"\n".join(lines) + b"\n")
    return root


def write_coco(root: Path, *, damaged: bool) -> Path:
    """COCO's layout of 20 pictures with two captions each, with bad entries or without."""
    (root / "mini").mkdir(parents=True)
    (root / "annotations").mkdir()
    images, annotations = [], []
    for number in range(20):
        (root / "mini" / f"{number:012d}.jpg").write_bytes(draw(number))
        images.append({"id": number, "file_name": f"{number:012d}.jpg"})
        text = (HOSTILE if damaged else CLEAN).decode() if number == 5 else say(number, 0)
        annotations += [{"image_id": number, "caption": c} for c in (text, say(number, 1))]
    if damaged:
        (root / "secret.jpg").write_bytes(draw(30))
        (root / "mini/corrupt.jpg").write_bytes(draw(32)[:300])
        (root / "mini/mute.jpg").write_bytes(draw(31))
        images[7:7] = [
            {"id": 100, "file_name": "corrupt.jpg"},
            {"id": 101, "file_name": "../secret.jpg"},
            {"id": 102, "file_name": "gone.jpg"},
            {"id": 103, "file_name": "mute.jpg"},
            {"id": 3, "file_name": "mute.jpg"},
            {"id": 104},
        ]
        annotations[9:9] = [
            *({"id": n, "image_id": 100 + n, "caption": "a bad picture"} for n in (0, 1, 2)),
            {"id": 7, "image_id": 999, "caption": "a caption of nothing"},
            {"id": 8, "image_id": 6, "caption": 6},
        ]
    content = {"images": images, "annotations": annotations}
    path = root / "annotations/captions_mini.json"
    path.write_text(json.dumps(content))
    return path


WRITERS = {"table": ("path", write_kaggle), "coco_captions": ("annotations", write_coco)}
BAD = {
    "table": {
        "captions.txt:8": "not_decodable",
        "captions.txt:9": "unsafe_path",
        "captions.txt:10": "no_picture",
        "captions.txt:11": "no_caption",
        "captions.txt:12": "bad_caption",
        "captions.txt:13": "unreadable_file",
    },
    "coco_captions": {
        "captions_mini.json:100": "not_decodable",
        "captions_mini.json:101": "unsafe_path",
        "captions_mini.json:annotation 1": "no_picture",  # its image was refused
        "captions_mini.json:102": "no_picture",
        "captions_mini.json:103": "no_caption",
        "captions_mini.json:3": "duplicate_key",
        "captions_mini.json:104": "no_picture",
        "captions_mini.json:annotation 7": "no_picture",
        "captions_mini.json:6": "bad_caption",
    },
}
