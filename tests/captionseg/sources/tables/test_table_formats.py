"""Tables in every format, with and without a header."""

import csv
import gzip
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.sources.tables.pair_columns import Columns
from captionseg.sources.tables.table_listing import name_tables
from tests.captionseg.sources.tables.tabulating import LINKS, good, put, reasons, rows

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


def test_lists_of_captions_as_python_prints_them(tmp_path: Path) -> None:
    """pandas writes a column of lists so; of numpy's arrays Python would join the texts."""
    lists = [["A dog", 'it\'s "here"'], ["b\\d"], ["one"]]
    frame = "".join(f"{n}.jpg|{texts}\n" for n, texts in enumerate(lists))
    path = put(tmp_path, "a.csv", f"image|caption\n{frame}")
    assert list(good(path).values()) == lists
    cells = ["['a' 'b']", "['a'\n 'b']", "['lone", "['a', 3]"]
    records = [json.dumps({"image": f"{n}.jpg", "text": text}) for n, text in enumerate(cells)]
    path = put(tmp_path, "a.jsonl", "\n".join(records))
    assert [row["captions"] for row in rows(path)] == [None, None, ["['lone"], ["a"], []]
    numpy = ("bad_caption", "caption is an array as numpy prints it; write it as JSON")
    assert reasons(path) == {
        "a.jsonl:1": numpy,
        "a.jsonl:2": numpy,
        "a.jsonl:4": ("bad_caption", "caption is no text but int (1 of 2 captions)"),
    }


def test_words_that_stand_for_no_caption(tmp_path: Path) -> None:
    words = ["nan", "None", "NULL", "<NA>", "N/A", "null"]
    path = put(tmp_path, "a.csv", "image,text\n" + "".join(f"{w[:2]},{w}\n" for w in words))
    assert [row["error"] for row in rows(path)] == [
        f"caption is {word!r}, which stands for a missing one" for word in words
    ]
    assert good(put(tmp_path, "b.csv", "image,text\n1.jpg,none\n2.jpg,A nan bread\n"))


def test_columns_of_other_types_of_arrow(tmp_path: Path) -> None:
    table = pa.table(
        {
            "image": pa.array(["1.jpg", "2.jpg"]).dictionary_encode(),
            "caption": pa.array(["A dog", None], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert [row["captions"] for row in rows(str(tmp_path / "a.parquet"))] == [["A dog"], None]
    pq.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    assert rows(str(tmp_path / "none.parquet")) == []
