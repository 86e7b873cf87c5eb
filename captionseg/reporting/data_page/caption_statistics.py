"""How long captions are, how often the same one comes, and how many a picture has."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import compute

from captionseg.reporting.data_page.bars import list_bars, summarize_numbers
from captionseg.reporting.rendering import View

pc: Any = compute  # its functions are made when it is imported

MANY = 5
"""Captions of a picture from which on no more are told apart."""

REPEATED = 5
"""Captions of several pictures that are shown."""


def describe_captions(pictures: pa.Table) -> View:
    """How long captions are, and which stand with several pictures."""
    if not len(pictures):
        return {}
    captions = pictures["caption"]
    words = pc.count_substring_regex(captions, r"\S+").to_numpy()
    letters = pc.utf8_length(captions).to_numpy()
    often = captions.combine_chunks().value_counts()
    often = often.filter(pc.greater(often.field("counts"), 1)).to_pylist()
    often.sort(key=lambda row: (-row["counts"], row["values"]))
    return {
        "words": summarize_numbers(words),
        "letters": summarize_numbers(letters),
        "histogram": list_bars(words),
        "different": pc.count_distinct(captions).as_py(),
        "total": len(captions),
        "repeated": [{"text": row["values"], "count": row["counts"]} for row in often[:REPEATED]],
    }


def count_captions_per_picture(pictures: pa.Table) -> View:
    """How many source pictures have how many captions that are seen, and how many that are held
    out.
    """
    held_out = pc.fill_null(pc.list_value_length(pictures["held_out_captions"]), 0)
    table = pa.table({"url": pictures["url"], "held_out": held_out}).group_by("url")
    found = table.aggregate([("url", "count"), ("held_out", "max")])
    seen, kept = found["url_count"].to_numpy(), found["held_out_max"].to_numpy()
    rows = []
    for number in range(MANY + 1):
        last = number == MANY
        counts = [int((n >= number if last else n == number).sum()) for n in (seen, kept)]
        if counts[0] or (counts[1] and kept.any()):
            name = f"{number} or more" if last else str(number)
            rows.append({"name": name, "seen": counts[0], "held_out": counts[1]})
    return {"rows": rows, "pictures": len(seen), "held_out": int(kept.sum())}
