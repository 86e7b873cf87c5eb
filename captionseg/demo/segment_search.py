"""Segments by words, for the page: what `captionseg query-segments` finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from captionseg.lineage.history import Places
from captionseg.records import UserError

MOST = 20  # results
TRAIN = "`make experiment NAME=segments` trains one, models/cocu-use"


class SegmentSearch:
    """The segments of a run, searched by one model, which is loaded at the first search.

    Attributes:
        places: files of the run.
        folder: of the model; None without one.
        device: that it computes on.
    """

    def __init__(self, places: Places, folder: Path | None, device: str = "auto") -> None:
        self.places, self.folder, self.device = places, folder, device
        self._opened: Any = None

    @property
    def segments(self) -> Path:
        """Folder of the segments."""
        return self.places.data / "segments"

    @property
    def missing(self) -> str:
        """What is missing, and what to run for it; empty if segments can be searched."""
        if not any(self.segments.glob("*.parquet")):
            return f"{self.segments}: no segments; run `dvc repro`, or name a run with --data"
        if self.folder is None:
            return f"No model of segments (`model: use`): {TRAIN}, or name one with --model"
        return ""

    @property
    def is_open(self) -> bool:
        """Whether a search would begin at once."""
        return self._opened is not None

    def search(self, text: str) -> list[Any]:
        """Find the segments that match a text best.

        Args:
            text: such as "a red apple".

        Returns:
            at most MOST results, see `captionseg.reporting.query.PicturedHit`; the best first.

        Raises:
            UserError: for no text, or files that cannot be used.
        """
        from captionseg.reporting.query import add_pictures

        text = " ".join(text.split())
        if not text:
            raise UserError('words: type what to search for, such as "a red apple"')
        if self._opened is None:
            self._opened = self._open()
        model, index, prepared = self._opened
        return add_pictures(index.search(model.texts([text])[0], MOST), prepared)

    def _open(self) -> tuple[Any, Any, Any]:
        """Return the model, its index of the segments, and the folders of pictures."""
        from captionseg.inference.prepared_folders import PreparedFolders
        from captionseg.inference.segment_index import open_index
        from captionseg.inference.segment_model import SegmentModel

        data, folder = self.places.data, self.folder
        assert folder is not None, "looked at by `missing`"
        prepared = PreparedFolders(
            data / "pairs", data / "index", data / "regions", data / "features"
        )
        model = SegmentModel.load(folder, device=self.device)
        home = data / "segment_index" / folder.resolve().name
        return model, open_index(home, self.segments, model, prepared), prepared
