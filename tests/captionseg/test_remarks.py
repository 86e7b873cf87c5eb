"""Lines about texts: once each, one line, and nothing in them that a terminal would obey."""

from types import SimpleNamespace

import numpy as np
import pytest

from captionseg.remarks import (
    find_cut_texts,
    forget,
    group_warnings,
    may_be_cut,
    quote,
    quote_first,
    warn_once,
    warn_too_long,
)


@pytest.fixture(autouse=True)
def afresh():
    forget()


def test_a_text_is_quoted_in_one_line_that_is_not_long():
    assert quote("a\n\x1b[31m\u202e\udcff") == r"'a\n\x1b[31m\u202e\udcff'"
    assert quote("狗🦓é") == "'狗🦓é'"
    assert quote("x" * 41) == repr("x" * 37 + "...")
    assert quote_first(["a", "b"]) == "'a', 'b'"
    assert quote_first(list("abcd")) == "'a', 'b', 'c', ..."


def test_the_same_is_said_once(caplog):
    for message in ("100 % of it", "100 % of it", "more"):
        warn_once(message)
    assert caplog.messages == ["100 % of it", "more"]


def test_what_is_gathered_is_one_line_a_context_and_an_error_loses_none(caplog):
    warn_too_long(["known"], 5)

    def fails():
        with group_warnings(), group_warnings():
            warn_too_long(["known", "a"], 5)
            warn_too_long(["b", "b", "a"], 5)
            warn_too_long(["c"], 9)
            assert len(caplog.messages) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert [message.split(" longer")[0] for message in caplog.messages] == [
        "1 text is",
        "2 texts are",
        "1 text is",
    ]
    warn_too_long(["a", "b", "c"], 5)
    assert len(caplog.messages) == 3


def test_texts_that_cannot_be_too_long_are_not_read_twice():
    assert not may_be_cut("abc", 5)
    assert may_be_cut("abcd", 5)
    assert may_be_cut("狗狗", 5)  # of six bytes
    asked = []
    simple = SimpleNamespace(encode=lambda text: asked.append(text) or text.split())
    tokens = np.zeros((3, 5), int)
    assert find_cut_texts(simple, ["a b", "a b c d e", "a bcdefg"], tokens) == ["a b c d e"]
    assert asked == ["a b c d e", "a bcdefg"]
    other = SimpleNamespace(tokenizer=lambda text: {"input_ids": [0, *text.split(), 1]})
    assert find_cut_texts(other, ["a b", "a b c d", "a b cdef"], tokens) == ["a b c d"]
