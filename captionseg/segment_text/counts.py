"""Counts of images, captions, phrases, boxes and masks on the way to segments: the sums of
NNNNN_stats.json of all shards.

images, and of them images_without_phrases (nothing to ask), images_without_boxes (asked, but
nothing was grounded), images_without_segments (no mask is left, for whatever reason); pairs_joined,
beside them: pairs of a picture that an earlier pair has too; captions, and of them
captions_generated, captions_empty (no word in them) and captions_cut (they, or phrases of theirs,
are longer than the grounder reads at once); of generated ones that should be there captions_failed
and captions_missing: those images have only their original caption; phrases, and of them
phrases_without_box; expressions, those that some phrases have beside their own text; boxes, and
beside them boxes_unassigned (what they show is none of the phrases) and boxes_beyond_limit;
segments and texts, those of all rows: what the shard's table must hold; of the masks of boxes:
masks_empty, masks_too_small, masks_unstable, and masks_merged, which gave their texts away.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pyarrow import compute

from captionseg.records import SEGMENTS
from captionseg.storage.folders import list_files
from captionseg.storage.reading import explain_read_errors, read_json, read_table

pc: Any = compute  # its functions are made when it is imported


def read_counts(segments: Path) -> Counter[str]:
    """The counts of all finished shards of a folder; empty if there is none."""
    count: Counter[str] = Counter()
    for file in sorted(segments.glob("*_stats.json")):
        count.update(read_shard_counts(file))
    return count


def read_shard_counts(file: Path) -> dict[str, int]:
    """The counts of one shard."""
    counts = read_json(file)
    with explain_read_errors(file):
        if invalid := [name for name, value in counts.items() if type(value) is not int]:
            raise TypeError(f"{invalid[0]} is no whole number")
    return counts


def summarize(segments: Path) -> dict[str, float]:
    """Segments per image, texts per segment and share of whole-image segments; and the counts of
    all shards.
    """
    count = read_counts(segments)
    rows, texts, full = 0, 0, 0
    for file in list_files(segments, ".parquet"):
        table = read_table(file, columns=["full_image", "texts"], schema=SEGMENTS)
        rows += len(table)
        texts += pc.sum(pc.list_value_length(table["texts"])).as_py() or 0
        full += pc.sum(table["full_image"]).as_py() or 0
    return {
        "per_image": rows / max(1, count["images"]),
        "texts_per_segment": texts / max(1, rows),
        "full_image_share": full / max(1, rows),
        **{name: float(value) for name, value in sorted(count.items())},
    }
