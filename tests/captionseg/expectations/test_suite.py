"""Tables as expectations see them."""

import pyarrow as pa

from tests.imported_late import import_late

suite = import_late("captionseg.expectations.suite")


def test_schema_rows_name_what_differs() -> None:
    want = pa.schema([("a", pa.int32()), ("b", pa.list_(pa.string()))])
    other = pa.schema(
        [("a", pa.int64()), ("b", pa.list_(pa.field("element", pa.string()))), ("c", pa.null())]
    )
    assert suite().list_columns("t", [want, other], want) == [
        ("t", "t.a", "int32", "int64"),
        ("t", "t.b", "list<item: string>", "list<item: string>"),
        ("t", "t.c", "absent", "null"),
    ]


def test_exploded_repeats_the_row_for_each_struct() -> None:
    rows = [
        {"uid": "a", "x": [{"n": 1}, {"n": 2}]},
        {"uid": "b", "x": []},
        {"uid": "c", "x": [{"n": 3}]},
    ]
    frame = suite().explode(pa.Table.from_pylist(rows), "x", keep=["uid"])
    assert frame["uid"].tolist() == ["a", "a", "c"]
    assert frame["n"].tolist() == [1, 2, 3]
