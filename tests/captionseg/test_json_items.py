"""JSON that is read object by object."""

import io
import json

import pytest

from captionseg.storage import json_items
from captionseg.storage.json_items import JsonItems

VALUES = [
    [],
    [1, 2.5, "a", None],
    [{"a": [1, {"b": 2}]}, {"c": "\u00e9 \U0001f436"}],
    {},
    {"x": [], "many": [{"a": 1}, {"b": [{}]}], "n": [1, 2.5], "s": "t", "deep": [[1], [2]]},
]


def flatten(value: object) -> list[tuple[str, object]]:
    """What should be read of a value."""
    if isinstance(value, list):
        return [("", item) for item in value]
    found: list[tuple[str, object]] = []
    for key, one in value.items():
        objects = isinstance(one, list) and one and isinstance(one[0], dict)
        found += [(key, item) for item in one] if objects else [(key, one)]
    return found


@pytest.mark.parametrize("chunk", [1, 3, 50, 2**20])
@pytest.mark.parametrize("value", VALUES)
def test_what_is_read(value: object, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "CHUNK", chunk)
    for mark in (b"", b"\xef\xbb\xbf"):
        for indent in (None, 2):
            for escaped in (True, False):
                text = json.dumps(value, indent=indent, ensure_ascii=escaped)
                stream = io.BytesIO(mark + text.encode() + b" \n")
                assert list(JsonItems(stream)) == flatten(value)


@pytest.mark.parametrize(
    "data",
    [b"", b"3", b"[1,2", b"[1 2]", b'{"a":[{"b":1},', b'{"a":[{"b":1}', b"[1]x", b"{1:2}", b"[tru"],
)
@pytest.mark.parametrize("chunk", [1, 2**20])
def test_what_is_no_json(data: bytes, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "CHUNK", chunk)
    with pytest.raises(ValueError, match="JSON"):
        list(JsonItems(io.BytesIO(data)))


def test_text_that_is_not_utf8() -> None:
    assert list(JsonItems(io.BytesIO(b'["caf\xe9"]'))) == [("", "caf\udce9")]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a long list nor a value without end is held as a whole."""
    monkeypatch.setattr(json_items, "CHUNK", 1000)
    monkeypatch.setattr(json_items, "LARGEST", 10_000)
    items = JsonItems(io.BytesIO(json.dumps([{"n": n} for n in range(20_000)]).encode()))
    longest = max(len(items.text) for _ in items)
    assert longest < 3000
    with pytest.raises(ValueError, match="more than 10,000 characters"):
        list(JsonItems(io.BytesIO(b'["' + b"x" * 100_000)))
