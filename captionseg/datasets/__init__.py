"""Where captioned images come from, one source a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from captionseg.datasets.photo_scenes import PhotoScenes
from captionseg.datasets.source import Source

SOURCES = {"photo_scenes": PhotoScenes}

__all__ = ["SOURCES", "DownloadParams", "PhotoScenes", "Source"]


@dataclass(frozen=True)
class DownloadParams:
    """Section `download` of params.yaml.

    Attributes:
        source: which member of SOURCES; its own section holds its fields.
        shard_size: source rows a shard.
        min_success: smallest share of rows that may succeed.
        workers: processes; 0 takes one a core.
    """

    source: Literal["photo_scenes", "shapes", "folder"] = "photo_scenes"
    shard_size: int = 500
    min_success: float = 0.5
    workers: int = 0
    photo_scenes: PhotoScenes = field(default_factory=PhotoScenes)

    def chosen(self) -> Source:
        """The source that `source` names."""
        return getattr(self, self.source)
