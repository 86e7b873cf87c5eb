"""What is said of texts that are not read as they were written: one line, once a text."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

log = logging.getLogger(__name__)
SHOWN = 3  # examples that a line names

_warned: set[str] = set()
_gathered: list[tuple[str, int]] | None = None


def quote(text: str, longest: int = 40) -> str:
    """A text in quotes for a line of a message: cut, and nothing in it that is not printed."""
    return repr(text if len(text) <= longest else f"{text[: longest - 3]}...")


def quote_first(texts: Sequence[str]) -> str:
    """The first few, quoted, in one line."""
    more = ", ..." if len(texts) > SHOWN else ""
    return ", ".join(quote(text) for text in texts[:SHOWN]) + more


def warn_once(message: str) -> None:
    """Say something that is the same for every picture or batch the first time."""
    if message not in _warned:
        _warned.add(message)
        log.warning(message)


def forget() -> None:
    """As if nothing had been said."""
    _warned.clear()


def warn_too_long(texts: Iterable[str], context: int) -> None:
    """Say which texts are cut, since a text encoder reads `context` tokens.

    See `group_warnings`.
    """
    new = [text for text in dict.fromkeys(texts) if text not in _warned]
    _warned.update(new)
    if _gathered is not None:
        _gathered.extend((text, context) for text in new)
    elif new:
        count = "1 text is" if len(new) == 1 else f"{len(new)} texts are"
        log.warning(
            "%s longer than the %d tokens that the text encoder reads, the rest is left out: %s",
            count,
            context,
            quote_first(new),
        )


@contextlib.contextmanager
def group_warnings() -> Iterator[None]:
    """What is too long in here is said in one line."""
    global _gathered
    if _gathered is not None:
        yield
        return
    _gathered = []
    try:
        yield
    finally:
        found, _gathered = _gathered, None
        _warned.difference_update(text for text, _ in found)
        for context in dict.fromkeys(context for _, context in found):
            warn_too_long((text for text, of in found if of == context), context)


def may_be_cut(text: str, context: int) -> bool:
    """Whether a text is to be looked at: a token has a byte at least, and two mark the ends."""
    return len(text.encode(errors="replace")) > context - 2


def find_cut_texts(encode: Any, texts: Sequence[str], tokens: Any) -> list[str]:
    """Those of the texts that a tokenizer of open_clip has cut.

    Args:
        encode: SimpleTokenizer, or another of open_clip.
        texts: [T].
        tokens: [T, n] that it made of them.
    """
    context = tokens.shape[1]
    many = [text for text in texts if may_be_cut(text, context)]
    if hasattr(encode, "encode"):
        return [text for text in many if len(encode.encode(text)) > context - 2]
    return [text for text in many if len(encode.tokenizer(text)["input_ids"]) > context]
