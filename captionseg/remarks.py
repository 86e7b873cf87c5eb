"""Warnings about texts that an encoder truncates or cannot read, once per text."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

log = logging.getLogger(__name__)
SHOWN = 3  # examples in a message

_warned: set[str] = set()
_gathered: list[tuple[str, int]] | None = None


def quote(text: str, longest: int = 40) -> str:
    """Quote a text for a message: shortened, with unprintable characters escaped."""
    return repr(text if len(text) <= longest else f"{text[: longest - 3]}...")


def quote_first(texts: Sequence[str]) -> str:
    """Quote the first few texts on one line."""
    more = ", ..." if len(texts) > SHOWN else ""
    return ", ".join(quote(text) for text in texts[:SHOWN]) + more


def warn_once(message: str) -> None:
    """Log a warning the first time only; for warnings that every picture or batch repeats."""
    if message not in _warned:
        _warned.add(message)
        log.warning(message)


def forget() -> None:
    """Forget which warnings were logged."""
    _warned.clear()


def warn_too_long(texts: Iterable[str], context: int) -> None:
    """Warn about texts that are truncated because the text encoder reads `context` tokens.

    See `group_warnings`.
    """
    new = [text for text in dict.fromkeys(texts) if text not in _warned]
    _warned.update(new)
    if _gathered is not None:
        _gathered.extend((text, context) for text in new)
    elif new:
        count = "1 text is" if len(new) == 1 else f"{len(new)} texts are"
        log.warning(
            "%s longer than the %d tokens that the text encoder reads and truncated: %s",
            count,
            context,
            quote_first(new),
        )


@contextlib.contextmanager
def group_warnings() -> Iterator[None]:
    """Collect the warnings about long texts inside and log them as one line."""
    global _gathered
    if _gathered is not None:
        yield
        return
    _gathered = []
    try:
        yield
    finally:
        gathered, _gathered = _gathered, None
        _warned.difference_update(text for text, _ in gathered)
        for context in dict.fromkeys(context for _, context in gathered):
            warn_too_long((text for text, of in gathered if of == context), context)


def may_be_cut(text: str, context: int) -> bool:
    """Return whether a text could be too long: a token has at least one byte, two mark the ends."""
    return len(text.encode(errors="replace")) > context - 2


def find_cut_texts(encode: Any, texts: Sequence[str], tokens: Any) -> list[str]:
    """Return the texts that a tokenizer of open_clip truncated.

    Args:
        encode: SimpleTokenizer, or another tokenizer of open_clip.
        texts: [T].
        tokens: [T, n], its output for the texts.
    """
    context = tokens.shape[1]
    many = [text for text in texts if may_be_cut(text, context)]
    if hasattr(encode, "encode"):
        return [text for text in many if len(encode.encode(text)) > context - 2]
    clean = getattr(encode, "clean_fn", str)
    return [text for text in many if len(encode.tokenizer(clean(text))["input_ids"]) > context]
