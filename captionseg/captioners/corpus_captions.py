"""The captions of a corpus, as written by the caption stage and read by segment_text.

FOLDER/KEY/NNNNN.parquet has the captions of one configuration; those of earlier configurations are
kept, because they are expensive. FOLDER/captions.json, written last, names the one in use, with its
measures. A folder without it is unfinished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionseg.captioners.cache import caption, read_earlier_rows
from captionseg.captioners.captioners import CaptionParams
from captionseg.datasets.pair_tables import read_pairs
from captionseg.records import UserError
from captionseg.storage.writing import write_json

SIGN = "captions.json"


def write_captions(pairs: Path, params: CaptionParams, captions: Path) -> dict[str, float]:
    """Run the stage: caption the pictures of a split, or do nothing without a captioner.

    Args:
        pairs: shards of pairs.
        params: section `caption`.
        captions: folder kept from earlier runs; valid captions in it are not generated again.

    Returns:
        images, captioned, failed, missing, words_per_caption, and asked (in this run). Empty
        without a captioner.

    Raises:
        UserError: see `captionseg.captioners.caption`.
    """
    (captions / SIGN).unlink(missing_ok=True)
    key, measures = "", {}
    if params.captioner != "none":
        captioner = params.build()
        rows = read_pairs(pairs).select(["uid", "split"]).to_pylist()
        uids = {row["uid"] for row in rows if row["split"] == params.split}
        measures = caption(pairs, captioner, captions, uids=uids, retry_failed=params.retry_failed)
        key = captioner.key
    # "asked" depends on earlier runs
    lasting = {name: value for name, value in measures.items() if name != "asked"}
    write_json({"captioner": params.captioner, "key": key, **lasting}, captions / SIGN)
    return measures


@dataclass(frozen=True)
class Captions:
    """Generated captions on disk.

    Attributes:
        folder: FOLDER/KEY; None if there are none.
    """

    folder: Path | None = None

    @classmethod
    def load(cls, captions: Path) -> Captions:
        """Load the captions in use from a folder.

        Raises:
            UserError: if it is unfinished.
        """
        try:
            key = json.loads((captions / SIGN).read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, LookupError, TypeError):
            raise UserError(
                f"{captions}: unfinished, it has no {SIGN}; run `dvc repro caption`"
            ) from None
        return cls(captions / key if key else None)

    def rows(self, shard: str) -> dict[str, dict[str, Any]] | None:
        """Return uid -> row of CAPTIONS for the pictures of a shard; None if there are none."""
        return (
            None
            if self.folder is None
            else {row["uid"]: row for row in read_earlier_rows(self.folder, shard)}
        )
