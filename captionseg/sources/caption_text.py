"""Cleans captions: no HTML, no control characters, one line, bounded length."""

from __future__ import annotations

import html
import re
import unicodedata

from captionseg.records import LONGEST_CAPTION
from captionseg.sources.reasons import Refusal

ROUNDS = 4  # of unescaping, for entities within entities such as &amp;amp;
INLINE = (
    "a|abbr|b|bdi|bdo|big|cite|code|data|del|dfn|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|"
    "sup|time|tt|u|var|wbr"
)
BLOCK = (
    "address|article|aside|audio|blockquote|body|br|button|canvas|caption|center|col|colgroup|dd|details|div|dl|"
    "dt|embed|fieldset|figcaption|figure|footer|form|frame|frameset|h1|h2|h3|h4|h5|h6|head|header|hr|html|iframe|img|"
    "input|label|legend|li|link|main|map|meta|nav|noscript|object|ol|optgroup|option|p|param|picture|pre|script|"
    "section|select|source|style|summary|svg|table|tbody|td|template|textarea|tfoot|th|thead|title|tr|track|ul|"
    "video"
)
REST = r"""(?=[\s/>])(?:[^<>"']|"[^"<]*"|'[^'<]*'|["']){0,2000}+>"""
TAGS = (
    (re.compile(rf"</?(?:{INLINE}){REST}", re.IGNORECASE), ""),
    (re.compile(rf"</?(?:{BLOCK}){REST}", re.IGNORECASE), " "),
)
"""Only elements of HTML, not everything between < and >: Conceptual Captions have the word
`<PERSON>`.
"""
DROPPED = (("<!--", "-->"), (r"<script\b", r"</script\s*>"), (r"<style\b", r"</style\s*>"))
ENTITY = re.compile(
    r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,31});|&(?:amp|lt|gt|quot|nbsp)\b", re.IGNORECASE
)
MISSING = {"nan", "NaN", "NA", "N/A", "n/a", "#N/A", "<NA>", "None", "NULL", "null"}
"""Captions that are no words of a person: what programs write where there is none."""
LINES = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
INVISIBLE = re.compile("[\u00ad\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Direction marks, word joiners and soft hyphens; joiners within emoji and letters are kept."""


def read_captions(data: bytes, *, joined: bool = False) -> tuple[list[str], str]:
    """Read the captions of a text file, one per line.

    Args:
        data: UTF-8 text, with or without a byte order mark.
        joined: all lines are one caption.

    Returns:
        captions, each once; and why some were refused, empty if none was.

    Raises:
        Refusal: if there is no caption at all.
    """
    try:
        decoded = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refusal("bad_caption", "caption is not UTF-8") from None
    # each ASCII letter of UTF-16 is a valid one of UTF-8 and a NUL
    if 4 * data.count(0) > len(data):
        raise Refusal("bad_caption", "caption is not UTF-8 (is it UTF-16?)")
    lines = [decoded] if joined else LINES.split(strip_html(decoded))  # a tag may go over lines
    captions = [c for c in dict.fromkeys(map(clean, lines)) if c and c not in MISSING]
    if not captions:
        raise Refusal("no_caption", "caption is empty")
    accepted = [caption for caption in captions if len(caption) <= LONGEST_CAPTION]
    long, limit = len(captions) - len(accepted), f"longer than {LONGEST_CAPTION:,} characters"
    reason = (
        f"caption is {limit}"
        if len(captions) == 1
        else f"{long} of {len(captions)} captions are {limit}"
    )
    if not accepted:
        raise Refusal("bad_caption", reason)
    return accepted, reason if long else ""


def clean(text: str) -> str:
    """Text on one line: without HTML, with single spaces for white space and control characters, in
    Unicode's composed form (NFC).
    """
    text = strip_html(text)
    for _ in range(ROUNDS):
        if (unescaped := ENTITY.sub(lambda match: html.unescape(match[0]), text)) == text:
            break
        text = unescaped
    text = INVISIBLE.sub("", unicodedata.normalize("NFC", strip_html(text)))
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f\u200b]+", " ", text).strip()


def strip_html(text: str) -> str:
    """Text without comments, scripts, styles and tags."""
    if "<" not in text:
        return text
    for start, end in DROPPED:
        text = strip_between(text, start, end)
    for tag, instead in TAGS:
        text = tag.sub(instead, text)
    return text


def strip_between(text: str, start: str, end: str) -> str:
    """Text without everything between two patterns, in time linear in its length even if a pattern
    is never closed.
    """
    kept, position, opened = [], 0, -1
    for match in re.finditer(f"{start}|({end})", text, re.IGNORECASE):
        if opened < 0 and match[1] is None:
            opened = match.start()
        elif opened >= 0 and match[1] is not None:
            kept.append(text[position:opened])
            position, opened = match.end(), -1
    return " ".join([*kept, text[position:]])
