"""Tables -> rows of a listing: columns, formats, damage, and rows of one picture."""

import csv
import gzip
import io
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.records import UserError
from captionseg.sources import grouping
from captionseg.sources.captions import LONGEST
from captionseg.sources.columns import URLS, Columns
from captionseg.sources.listing import LISTING, make_batch
from captionseg.sources.reasons import REASONS
from captionseg.sources.tables import name_tables, read_listing

FILES = Columns("download.table")
LINKS = Columns("download.urls", pictures=URLS)


def put(folder: Path, name: str, content: bytes | str) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def rows(*paths: str, columns: Columns = FILES) -> list[dict[str, Any]]:
    found = []
    for batch in read_listing(paths, columns):
        assert batch.schema.equals(LISTING)
        found += batch.to_pylist()
    assert all((row["error"] is None) == (row["reason"] is None) for row in found)
    assert {row["reason"] for row in found} - {None} <= REASONS.keys()
    assert all("\n" not in (row["error"] or "") for row in found)
    return found


def good(*paths: str, columns: Columns = FILES) -> dict[str, list[str]]:
    found = rows(*paths, columns=columns)
    assert not [row["error"] for row in found if row["error"]]
    return {row["picture"]: row["captions"] for row in found}


def reasons(*paths: str, columns: Columns = FILES) -> dict[str, tuple[str, str]]:
    return {
        row["source_row"]: (row["reason"], row["error"])
        for row in rows(*paths, columns=columns)
        if row["reason"]
    }


# ------------------------------------------------------------------------------------------------
# formats

RECORDS = [
    {"file_name": "a.jpg", "text": 'two\nlines, "quoted" <b>bold</b> &amp;\x00 so'},
    {"file_name": "b.jpg", "text": "second"},
    {"file_name": "a.jpg", "text": "third"},
]
EXPECTED = {"a.jpg": ['two lines, "quoted" bold & so', "third"], "b.jpg": ["second"]}


def write(records: list[dict], kind: str) -> bytes:
    if kind in ("csv", "tsv", "txt"):
        text = io.StringIO(newline="")
        delimiter = "\t" if kind == "tsv" else ","
        writer = csv.DictWriter(text, list(records[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(records)
        return text.getvalue().encode()
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(records), stream := io.BytesIO())
        return stream.getvalue()
    if kind == "json":
        return json.dumps(records, indent=1).encode()
    return "\n".join(map(json.dumps, records)).encode()


@pytest.mark.parametrize("packed", [False, True], ids=["", "gz"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "txt", "json", "jsonl", "ndjson", "parquet"])
def test_formats(kind: str, packed: bool, tmp_path: Path) -> None:
    data = write(RECORDS, kind)
    name = f"m.{kind}.gz" if packed else f"m.{kind}"
    assert good(put(tmp_path, name, gzip.compress(data) if packed else data)) == EXPECTED


def test_rows_are_called_after_their_place(tmp_path: Path) -> None:
    path = put(tmp_path, "m.csv", write(RECORDS, "csv"))
    assert [row["source_row"] for row in rows(path)] == ["m.csv:2", "m.csv:4"]
    (tmp_path / "in").mkdir()
    other = put(tmp_path, "in/m.jsonl", '\n\n{"file_name": "c.jpg", "text": "c"}\n')
    assert [row["source_row"] for row in rows(path, other)][-1] == "in/m.jsonl:3"


def test_names_of_tables() -> None:
    assert name_tables(["/a/b/c.csv"]) == ["c.csv"]
    assert name_tables(["s3://b/x/c.csv", "s3://b/xy/c.csv"]) == ["x/c.csv", "xy/c.csv"]
    assert name_tables(["c.csv", "in/c.csv"]) == ["c.csv", "in/c.csv"]


def test_lists_as_they_come_without_a_header(tmp_path: Path) -> None:
    """CC3M has the caption first, CC12M the URL; their quotes are letters."""
    expected = {"http://x/1": ['a "dog" runs', "again"], "http://x/2": ['"lone', "other"]}
    cc3m = 'a "dog" runs\thttp://x/1\n"lone\thttp://x/2\nagain\thttp://x/1\nother\thttp://x/2\n'
    cc12m = 'http://x/1\ta "dog" runs\nhttp://x/2\t"lone\nhttp://x/1\tagain\nhttp://x/2\tother\n'
    assert good(put(tmp_path, "cc3m.tsv", cc3m), columns=LINKS) == expected
    assert good(put(tmp_path, "cc12m.tsv", cc12m), columns=LINKS) == expected


def test_other_lists_without_a_header(tmp_path: Path) -> None:
    tokens = put(tmp_path, "Flickr8k.token.txt", "1.jpg#0\tA child\n2.jpg#0\tA dog\n")
    assert good(tokens) == {"1.jpg#0": ["A child"], "2.jpg#0": ["A dog"]}
    links = put(tmp_path, "links.txt", "http://x/1\nhttp://x/2\n")
    assert [row["reason"] for row in rows(links, columns=LINKS)] == ["no_caption"] * 2
    wide = put(tmp_path, "wide.csv", "7,1.jpg,x,A child\n8,2.jpg,y,A dog\n")
    numbers = Columns("download.table", picture="2", caption="4")
    assert good(wide, columns=numbers) == {"1.jpg": ["A child"], "2.jpg": ["A dog"]}


def test_other_layouts(tmp_path: Path) -> None:
    piped = "image_name| comment_number| comment\n1.jpg| 0| Two guys .\n1.jpg| 1| Men , here\n"
    assert good(put(tmp_path, "results.csv", piped)) == {"1.jpg": ["Two guys .", "Men , here"]}
    splits = {
        "images": [{"filename": "1.jpg", "sentences": [{"raw": "A dog"}, {"raw": "A cat"}]}],
        "dataset": "flickr",
    }
    assert good(put(tmp_path, "k.json", json.dumps(splits))) == {"1.jpg": ["A dog", "A cat"]}
    mapping = {"1.jpg": ["A dog", "A cat"], "2.jpg": "A bird"}
    assert good(put(tmp_path, "m.json", json.dumps(mapping))) == {
        "1.jpg": ["A dog", "A cat"],
        "2.jpg": ["A bird"],
    }


def test_lists_of_captions(tmp_path: Path) -> None:
    table = pa.table({"image": ["1.jpg", "2.jpg"], "captions": [["A dog", "A dog", "b"], ["c"]]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert good(str(tmp_path / "a.parquet")) == {"1.jpg": ["A dog", "b"], "2.jpg": ["c"]}
    cells = 'image,caption\n1.jpg,"[""A dog"", ""b""]"\n2.jpg,[words] in brackets\n'
    expected = {"1.jpg": ["A dog", "b"], "2.jpg": ["[words] in brackets"]}
    assert good(put(tmp_path, "a.csv", cells)) == expected


# ------------------------------------------------------------------------------------------------
# columns


def test_the_choice_of_columns_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "captionseg")
    path = put(tmp_path, "m.csv", "text,image,Caption,file_name\nt,i,c,f\n")
    assert good(path) == {"f": ["c"]}, "the first known name, whatever its letters"
    line = (
        "m.csv: pictures from column 'file_name', captions from 'Caption' "
        "(download.table.picture_column, .caption_column)"
    )
    assert caplog.messages == [line]
    named = Columns("download.table", picture="image", caption="text")
    assert good(path, columns=named) == {"i": ["t"]}


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (
            "image,words\na,b\n",
            FILES,
            "no column of captions is known; set download.table.caption_column to one of its "
            "columns: image, words",
        ),
        (
            "image,caption,caption\na,b,c\n",
            FILES,
            "several columns are called 'caption'; set download.table.caption_column to one of "
            "its columns: image, caption, caption",
        ),
        (
            "image,caption\na,b\n",
            Columns("download.table", caption="alt"),
            "no column is called 'alt'; set download.table.caption_column to one of its columns: "
            "image, caption",
        ),
        (
            "image,caption\na,b\n",
            Columns("download.table", caption="image"),
            "'image' cannot be picture and caption at once",
        ),
        (
            "x,y,z\n1,2,3\n",
            FILES,
            "the columns have no known names; set download.table.picture_column and "
            "caption_column to names, or to numbers of columns; the first row: x, y, z",
        ),
    ],
)
def test_a_column_is_not_there(
    content: str, columns: Columns, message: str, tmp_path: Path
) -> None:
    path = put(tmp_path, "m.csv", content)
    with pytest.raises(UserError) as caught:
        rows(path, columns=columns)
    assert str(caught.value) == f"{path}: {message}"


# ------------------------------------------------------------------------------------------------
# damage


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
        b"9.jpg," + b"x" * (LONGEST + 1),
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
        ("m.csv.gz", gzip.compress(b"image,caption\n" * 9)[:-9], "cannot be read"),
        ("m.csv.gz", b"image,caption\n", "cannot be read"),
        ("m.json", b'[{"image": "a", "text": "b"},', "cannot be read"),
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


# ------------------------------------------------------------------------------------------------
# rows of one picture


def test_rows_of_a_picture_stand_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of first rows, whatever the sizes of batches."""

    def batches(size: int):
        listed = [
            {"picture": f"{n % 7}.jpg", "captions": [f"said {n}"], "source_row": str(n)}
            for n in range(50)
        ]
        return [make_batch(listed[at : at + size]) for at in range(0, 50, size)]

    found = []
    for chunk, groups, size in ((4096, 4096, 50), (3, 2, 7), (8, 1, 1), (1, 3, 50)):
        monkeypatch.setattr(grouping, "CHUNK", chunk)
        monkeypatch.setattr(grouping, "GROUPS", groups)
        found.append(pa.Table.from_batches(grouping.merge_pictures(batches(size))).to_pylist())
    assert [(row["picture"], row["source_row"]) for row in found[0]] == [
        (f"{n}.jpg", str(n)) for n in range(7)
    ]
    assert found[0][1]["captions"] == [f"said {n}" for n in range(1, 50, 7)]
    assert found[0] == found[1] == found[2] == found[3]


def test_hashes_that_fall_together_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    hash_array = grouping.pd.util.hash_array
    monkeypatch.setattr(grouping.pd.util, "hash_array", lambda *a, **k: hash_array(*a, **k) % 2)
    batch = make_batch([{"picture": str(n % 9), "captions": [str(n)]} for n in range(18)])
    (merged,) = grouping.merge_pictures([batch])
    assert {row["picture"]: row["captions"] for row in merged.to_pylist()} == {
        str(n): [str(n), str(n + 9)] for n in range(9)
    }


def test_refused_rows_of_a_picture_are_one(tmp_path: Path) -> None:
    text = "image,caption\n1.jpg,\n1.jpg,good\n1.jpg,\n2.jpg,\n2.jpg,\n1.jpg,more\n"
    found = rows(put(tmp_path, "m.csv", text))
    assert [(row["picture"], row["captions"] or [], row["error"]) for row in found] == [
        ("1.jpg", ["good", "more"], None),
        ("1.jpg", [], "caption is empty (2 rows of the picture)"),
        ("2.jpg", [], "caption is empty (2 rows of the picture)"),
    ]


def test_no_rows_at_all(tmp_path: Path) -> None:
    assert rows(put(tmp_path, "m.csv", "image,caption\n")) == []
