"""Whose data a run's numbers are of, and what can be measured on them: section `data` of
metrics.json.

    data: {source: folder, digest: 9f86d081884c7d65, pairs: 300,
           masks: {train: 0, tune: 0, test: 0}, scored: test}

Numbers of other data say nothing about this run, so nothing is compared across digests. What needs
true masks is not missed where there are none: it was not measured, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionseg.sources.sources import SOURCES

DECIMALS = 4
"""Of numbers in metrics.json and in files for plots."""

OF_TRUTH = {
    "curation": ("recall", "precision", "recall_unnamed", "sampled_recall", "sampled_precision"),
    "segments": ("recall", "named_recall", "text_precision", "mean_iou"),
}
"""Section of metrics.json -> the numbers in it that need true masks of the training split."""


@dataclass(frozen=True)
class RunData:
    """What metrics.json says of its data; of one that says nothing all is unknown, and nothing is
    excused.
    """

    source: str = ""
    digest: str = ""
    masks: Mapping[str, int] | None = None
    scored: str = "test"

    @staticmethod
    def of(metrics: Mapping[str, Any], source: str = "") -> RunData:
        """The section `data`; `source` is that of params.yaml, for files of versions that did not
        write it down.
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
        """For people."""
        return f"{self.source or 'unknown source'}{f' {self.digest[:8]}' if self.digest else ''}"

    def differs(self, other: RunData) -> bool:
        """Are these known to be other data? Of older files the source alone is known."""
        if self.digest and other.digest:
            return self.digest != other.digest
        return bool(self.source and other.source) and self.source != other.source

    def lacks(self, split: str) -> bool:
        """Is it known that no picture of a split has a mask?"""
        return self.masks is not None and not self.masks.get(split)

    def explain_missing(self, keys: Sequence[str], metrics: Mapping[str, Any]) -> str:
        """Why a number cannot be there, in a few words; empty where it should be.

        Args:
            keys: its path in metrics.json, such as recipes, cocu-mil, photo_scenes, miou.
            metrics: the numbers that there are. A recipe or a rule that is not in them is missing,
                whatever the data.
        """
        match keys:
            case ["recipes", recipe, "train", "tune_miou"] if recipe in metrics.get("recipes", {}):
                return "no masks of the tune split" if self.lacks("tune") else ""
            case ["recipes", recipe, benchmark, *_] if (
                recipe in metrics.get("recipes", {}) and benchmark != "train"
            ):
                home = benchmark.partition("@")[0]
                if self.source and home in SOURCES and home != self.source:
                    return f"{home} are other data than these ({self.source})"
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
