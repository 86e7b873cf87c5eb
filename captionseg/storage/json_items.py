"""The objects of a JSON file, one after the other: a file of millions is never in memory as a
whole.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

CHUNK = 2**20  # bytes that are read at a time
LARGEST = 64 * 2**20  # characters of one value
SPACE = " \t\r\n"
DECODER = json.JSONDecoder()
BROKEN = "not valid JSON: a comma is expected, or the file ends early"


class JsonItems:
    """Reads `[item, item]`, or `{"key": [item, item], "other": value}`, from a stream.

    Args:
        stream: of bytes in UTF-8, with or without a mark in front; a letter that is not UTF-8
            becomes a surrogate.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self.text, self.at, self.ended = "", 0, False

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """(key, item) of all lists of objects, and (key, value) of all else; key is empty for a
        list that is the whole file.

        Raises:
            ValueError: where the file is no JSON, ends early, or is no list and no object.
        """
        start = self._peek()
        if start == "[":
            self._enter()
            yield from (("", item) for item in self._read_list())
        elif start == "{":
            yield from self._read_object()
        else:
            raise ValueError("no JSON list or object")
        if self._peek():
            raise ValueError("more than one JSON value; one a line is called .jsonl")

    def _read_object(self) -> Iterator[tuple[str, Any]]:
        if self._enter() == "}":
            self.at += 1
            return
        while True:
            key = self._read_value()
            if not isinstance(key, str) or self._take() != ":":
                raise ValueError("not valid JSON: a key is expected")
            if self._peek() != "[":
                yield key, self._read_value()
            elif self._enter() == "{":
                yield from ((key, item) for item in self._read_list())
            else:
                yield key, list(self._read_list())
            if (mark := self._take()) == "}":
                return
            if mark != ",":
                raise ValueError(BROKEN)

    def _read_list(self) -> Iterator[Any]:
        if self._peek() == "]":
            self.at += 1
            return
        while True:
            yield self._read_value()
            if (mark := self._take()) == "]":
                return
            if mark != ",":
                raise ValueError(BROKEN)

    def _enter(self) -> str:
        """Go past a bracket; the first character inside."""
        self.at += 1
        return self._peek()

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in SPACE:
                self.at += 1
            if self.at < len(self.text):
                return self.text[self.at]
            if not self._fill():
                return ""

    def _take(self) -> str:
        mark = self._peek()
        self.at += 1
        return mark

    def _read_value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                if not self._fill(len(self.text) - self.at):
                    raise ValueError(
                        f"not valid JSON: {error.msg}, or the file ends early"
                    ) from None
                continue
            # a number may go on in what was not read yet: 2.5 begins as 2 does
            if len(self.text) - end < 32 and not self.ended:
                self._fill()
                continue
            self.at = end
            return value

    def _fill(self, least: int = 0) -> bool:
        """Read on, at least as much as is waiting; False at the end."""
        if self.ended:
            return False
        if len(self.text) - self.at > LARGEST:
            raise ValueError(f"a value of more than {LARGEST:,} characters")
        data = self.stream.read(max(CHUNK, least))
        self.ended = not data
        self.text, self.at = self.text[self.at :] + self.decode(data, self.ended), 0
        return not self.ended
