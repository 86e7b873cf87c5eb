"""Rows and files of tables that cannot be used."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.records import LONGEST_CAPTION, UserError
from tests.captionseg.sources.tables.tabulating import put, reasons, rows


def test_rows_that_cannot_be_used_keep_their_place(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbfimage,caption",
        b"1.jpg,good",
        b",no picture",
        b"3.jpg,",
        b"4.jpg,<br>",
        b"5.jpg,A dog, a cat and, well",
        b"6.jpg,caf\xe9",
        b"7.jpg",
        b"\xe9.jpg,eight",
        b"",
        b"9.jpg," + b"x" * (LONGEST_CAPTION + 1),
        b"10.jpg,nul \x00 inside",
        b'11.jpg,"a quote that nobody closes',
        b"12.jpg,good,",
    ]
    path = put(tmp_path, "m.csv", b"\r\n".join(lines) + b"\r\n")
    found = rows(path)
    assert [row["source_row"] for row in found] == [
        f"m.csv:{number}" for number in (2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)
    ]
    assert {row["picture"]: row["captions"] for row in found if not row["error"]} == {
        "1.jpg": ["good"],
        "10.jpg": ["nul inside"],
        "11.jpg": ['"a quote that nobody closes'],
        "12.jpg": ["good"],
    }
    assert reasons(path) == {
        "m.csv:3": ("no_picture", "the row names no picture"),
        "m.csv:4": ("no_caption", "caption is empty"),
        "m.csv:5": ("no_caption", "caption is empty"),
        "m.csv:6": ("unreadable_file", "4 cells where the first row has 2: a quote too few?"),
        "m.csv:7": ("bad_caption", "caption is not UTF-8"),
        "m.csv:8": ("no_caption", "caption is missing"),
        "m.csv:9": ("no_picture", "the name of the picture is not UTF-8"),
        "m.csv:11": ("bad_caption", "caption is longer than 50,000 characters"),
    }


def test_a_quote_too_few_costs_one_row(tmp_path: Path) -> None:
    """Whatever follows: the end, too long a cell, rows whose number of cells does not fit."""
    many = "".join(f"{n}.jpg,a caption\n" for n in range(20_000))
    for rest in ("", "a.jpg,A dog\n", many, 'a.jpg,"b"\nc.jpg,d,e",f\n'):
        path = put(tmp_path, "m.csv", f'image,caption\nbad.jpg,"lone quote\n{rest}')
        assert len(rows(path)) == 1 + rest.count("\n")


def test_lines_of_json_that_are_none(tmp_path: Path) -> None:
    lines = ['{"image": "1.jpg", "text": "good"}', "nothing", "[1]", '{"image": 7, "text": "n"}']
    lines += ['{"image": "2.jpg", "text": ["a", 3, null]}', '{"image": {}, "text": "a"}']
    lines += ['{"image": "3.jpg", "text": 1.5}', '{"image": "4.jpg", "text": "\\ud800"}']
    path = put(tmp_path, "m.jsonl", "\n".join(lines))
    assert {r["picture"]: r["captions"] for r in rows(path) if not r["error"]} == {
        "1.jpg": ["good"],
        "7": ["n"],
        "2.jpg": ["a"],
    }
    assert [(row["source_row"], row["reason"]) for row in rows(path) if row["error"]] == [
        ("m.jsonl:2", "unreadable_file"),
        ("m.jsonl:3", "unreadable_file"),
        ("m.jsonl:5", "bad_caption"),
        ("m.jsonl:6", "no_picture"),
        ("m.jsonl:7", "bad_caption"),
        ("m.jsonl:8", "bad_caption"),
    ]


def test_text_of_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    texts = pa.array([b"good", b"caf\xe9"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, texts.buffers())
    pq.write_table(pa.table({"image": ["1.jpg", "2.jpg"], "text": text}), tmp_path / "m.parquet")
    assert reasons(str(tmp_path / "m.parquet")) == {
        "m.parquet:2": ("bad_caption", "caption is not UTF-8")
    }


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.csv", "image,caption\n".encode("utf-16"), "is UTF-16"),
        ("m.csv.gz", gzip.compress(b"image,caption\n" * 9, mtime=0)[:-9], "cannot be read"),
        ("m.csv.gz", b"image,caption\n", "cannot be read"),
        ("m.json", b'[{"image": "a", "text": "b"},', "cannot be read"),
        (
            "m.jsonl",
            b'{"image": "1.jpg", "text": "a",}\n',
            "its lines are no JSON objects; write o",
        ),
        ("m.json", b"[1, 2]", "holds no list of objects"),
        ("m.json", b'{"images": [{"id": 1, "image": "x", "text": "y"}], "b": [{}]}', "coco"),
        ("m.parquet", b"PAR1 but no more", "cannot be read"),
        ("m.xlsx", b"", "no table; give one that ends in .csv"),
    ],
)
def test_files_that_are_no_tables(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    path = put(tmp_path, name, data)
    with pytest.raises(UserError, match=message) as caught:
        rows(path)
    assert str(caught.value).startswith(path)
    assert "\n" not in str(caught.value)
