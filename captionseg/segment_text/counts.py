"""What was met and what was lost on the way to segments: NNNNN_stats.json of each shard, added up.

images, and of them images_without_phrases (nothing to ask), images_without_boxes (asked, but nothing was grounded),
images_without_segments (no mask is left, for whatever reason);
phrases, and of them phrases_without_box; expressions, those that some phrases have beside their own text;
boxes, and beside them boxes_unassigned (what they show is none of the phrases) and boxes_beyond_limit; captions_cut,
texts longer than the grounder reads at once;
of the masks of boxes: masks_empty, masks_too_small, masks_unstable, and masks_merged, which gave their texts away.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path


def read_counts(segments: Path) -> Counter[str]:
    """The counts of all finished shards of a folder; empty if there is none."""
    count: Counter[str] = Counter()
    for file in sorted(segments.glob("*_stats.json")):
        count.update(json.loads(file.read_text()))
    return count
