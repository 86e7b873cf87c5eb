"""Cells of a table -> the name of an image, and its captions."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import tokenize
import warnings
from typing import Any

from captionseg.records import LONGEST_CAPTION, one_line
from captionseg.sources.caption_text import MISSING, clean
from captionseg.sources.reasons import Refusal

INNER = ("raw", "caption", "text")
"""Keys that may hold the text of a caption that is an object, as in Karpathy's splits."""


def read_name(cell: Any) -> str:
    """The name of the image in a cell.

    Args:
        cell: a text, a number, or Hugging Face's {bytes, path}.

    Raises:
        Refusal: if it is empty, or no text.
    """
    if isinstance(cell, dict):  # of Hugging Face: {bytes, path}
        cell = cell.get("path")
    if cell is None or cell == "":
        raise Refusal("no_picture", "the row names no picture")
    if isinstance(cell, int) and not isinstance(cell, bool):
        cell = str(cell)
    if not isinstance(cell, str):
        raise Refusal("no_picture", f"the name of the picture is no text: {one_line(cell, 60)}")
    if not cell.strip():
        raise Refusal("no_picture", "the row names no picture")
    try:
        cell.encode()
    except UnicodeEncodeError:
        raise Refusal("no_picture", "the name of the picture is not UTF-8") from None
    return cell.strip()


def read_cell(cell: Any) -> tuple[list[str], Refusal | None]:
    """The captions of a cell, clean and each once; and why some are refused, None if none is.

    Args:
        cell: a caption, a list of captions, or such a list as JSON or as Python prints it.
    """
    texts: list[str] = []
    refused: list[Refusal] = []
    if isinstance(cell, str) and cell.lstrip().startswith(('["', "['")):
        try:
            cell = parse_list(cell)
        except Refusal as refusal:
            return [], refusal
    captions = cell if isinstance(cell, list) else [cell]
    for caption in captions:
        try:
            texts.append(read_caption(caption))
        except Refusal as refusal:
            refused.append(refusal)
    suffix = f" ({len(refused)} of {len(captions)} captions)" if len(captions) > 1 else ""
    first = Refusal(refused[0].reason, f"{refused[0]}{suffix}") if refused else None
    return list(dict.fromkeys(texts)), first


def parse_list(text: str) -> Any:
    """Parse a list of captions that was written as JSON or by Python, as pandas does; other text,
    such as words in brackets, is returned as it is.

    Raises:
        Refusal: for an array as numpy prints it: without commas, Python would join its texts.
    """
    with contextlib.suppress(ValueError):
        return json.loads(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about backslashes
            captions = ast.literal_eval(text.strip())
        marks = tokenize.generate_tokens(io.StringIO(text.strip()).readline)
        texts = sum(mark.type == tokenize.STRING for mark in marks)
    except (ValueError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError):
        return text
    if not isinstance(captions, list):
        return text
    if texts > len(captions):
        raise Refusal("bad_caption", "caption is an array as numpy prints it; write it as JSON")
    return captions


def read_caption(value: Any) -> str:
    """Clean one caption.

    Raises:
        Refusal: if it is empty, too long, or no valid text.
    """
    if isinstance(value, dict):
        value = next((value[key] for key in INNER if key in value), None)
    if value is None or value != value:  # NaN
        raise Refusal("no_caption", "caption is missing")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise Refusal("bad_caption", f"caption is no text but {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Refusal("bad_caption", "caption is not UTF-8") from None
    text = clean(value)
    if not text:
        raise Refusal("no_caption", "caption is empty")
    if text in MISSING:
        raise Refusal("no_caption", f"caption is {text!r}, which stands for a missing one")
    if len(text) > LONGEST_CAPTION:
        raise Refusal("bad_caption", f"caption is longer than {LONGEST_CAPTION:,} characters")
    return text
