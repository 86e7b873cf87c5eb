"""Section `data` of metrics.json: which data a run was measured on, and what they allow to measure.

    data: {source: folder, digest: 9f86d081884c7d65, pairs: 300,
           masks: {train: 0, tune: 0, test: 0}, scored: test}

Numbers of different data are not comparable, so the gate compares nothing across digests. Without
true masks, the numbers that need them are reported as not measured, not as missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionseg.sources.sources import SOURCES

DECIMALS = 4
"""Decimals of numbers in metrics.json and in plot data."""

OF_TRUTH = {
    "curation": ("recall", "precision", "recall_unnamed", "sampled_recall", "sampled_precision"),
    "segments": ("recall", "named_recall", "text_precision", "mean_iou"),
}
"""Section of metrics.json -> its numbers that need true masks of the training split."""


@dataclass(frozen=True)
class RunData:
    """Section `data` of metrics.json. If it is missing, nothing is known about the data, and no
    missing number is excused.
    """

    source: str = ""
    digest: str = ""
    masks: Mapping[str, int] | None = None
    scored: str = "test"

    @staticmethod
    def of(metrics: Mapping[str, Any], source: str = "") -> RunData:
        """Read section `data`; `source` from params.yaml is the fallback for files of older
        versions.
        """
        section = metrics.get("data")
        section = section if isinstance(section, Mapping) else {}
        masks = section.get("masks")
        return RunData(
            str(section.get("source") or source),
            str(section.get("digest") or ""),
            masks if isinstance(masks, Mapping) else None,
            str(section.get("scored") or "test"),
        )

    @property
    def name(self) -> str:
        """Source and short digest, for display."""
        return f"{self.source or 'unknown source'}{f' {self.digest[:8]}' if self.digest else ''}"

    def differs(self, other: RunData) -> bool:
        """Return whether the data are known to differ; older files only record the source."""
        if self.digest and other.digest:
            return self.digest != other.digest
        return bool(self.source and other.source) and self.source != other.source

    def lacks(self, split: str) -> bool:
        """Return whether it is known that no picture of a split has a mask."""
        return self.masks is not None and not self.masks.get(split)

    def explain_missing(self, keys: Sequence[str], metrics: Mapping[str, Any]) -> str:
        """Return why a number cannot be measured on these data; empty if it should exist.

        Args:
            keys: its path in metrics.json, such as recipes, cocu-mil, photo_scenes, miou.
            metrics: the existing numbers. A recipe or rule that they lack is missing, whatever the
                data.
        """
        match keys:
            case ["recipes", recipe, "train", "tune_miou"] if recipe in metrics.get("recipes", {}):
                return "no masks of the tune split" if self.lacks("tune") else ""
            case ["recipes", recipe, benchmark, *_] if (
                recipe in metrics.get("recipes", {}) and benchmark != "train"
            ):
                home = benchmark.partition("@")[0]
                if self.source and home in SOURCES and home != self.source:
                    return f"{home} is not the data of this run ({self.source})"
                return f"no masks of the {self.scored} split" if self.lacks(self.scored) else ""
            case ["curation", rule, name] if (
                rule in metrics.get("curation", {}) and name in OF_TRUTH["curation"]
            ):
                return "no masks of the train split" if self.lacks("train") else ""
            case ["curation", rule, "held_out", _] if "held_out" not in metrics.get(
                "curation", {}
            ).get(rule, {"held_out": {}}):
                return "no picture of the train split has a held-out caption"
            case ["segments", *_, name] if metrics.get("segments") and name in OF_TRUTH["segments"]:
                return "no masks of the train split" if self.lacks("train") else ""
        return ""
