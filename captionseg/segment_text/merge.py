"""Near-duplicate masks become one, which keeps the texts of all (USE, section 3.2: mask NMS at IoU
0.7).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from captionseg.segment_text.phrases import normalise_text


def merge_texts(texts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts of one segment, as SEGMENT_TEXT has them: each normalised text once, as in its best
    box, best first.

    Of equal scores the first counts: the original caption before the generated one. `count` adds
    up.
    """
    best: dict[str, dict[str, Any]] = {}
    count: Counter[str] = Counter()
    for text in texts:
        key = normalise_text(text["text"])
        count[key] += text["count"]
        if key not in best or text["score"] > best[key]["score"]:
            best[key] = text
    merged = [{**text, "count": count[key]} for key, text in best.items()]
    return sorted(merged, key=lambda t: (-t["score"], t["text"]))
