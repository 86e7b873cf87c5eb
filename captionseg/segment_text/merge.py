"""Near-duplicate masks become one, which keeps the texts of all (USE, section 3.2: mask NMS at IoU 0.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from captionseg.segment_text.phrases import normalised


def merged_texts(texts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts {text, kind, score} of one segment: each normalised text once, with its best score, best first."""
    best: dict[str, dict[str, Any]] = {}
    for text in texts:
        key = normalised(text["text"])
        if key not in best or text["score"] > best[key]["score"]:
            best[key] = text
    return sorted(best.values(), key=lambda t: (-t["score"], t["text"]))
