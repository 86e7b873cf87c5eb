"""Sources by name, and section `download` of params.yaml, which chooses one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from captionseg.constraints import Member
from captionseg.sources.coco_captions import CocoCaptions
from captionseg.sources.folder import Folder
from captionseg.sources.photo_scenes import PhotoScenes
from captionseg.sources.shapes import Shapes
from captionseg.sources.shards import Shards
from captionseg.sources.source import Source
from captionseg.sources.table import Table
from captionseg.sources.urls import Urls
from captionseg.typed import Count, Share

SOURCES = {
    "photo_scenes": PhotoScenes,
    "shapes": Shapes,
    "folder": Folder,
    "table": Table,
    "coco_captions": CocoCaptions,
    "shards": Shards,
    "urls": Urls,
}


@dataclass(frozen=True)
class DownloadParams:
    """Section `download` of params.yaml.

    Attributes:
        source: which member of SOURCES; its own section holds its fields.
        shard_size: source rows a shard.
        min_success: smallest share of rows that may succeed.
        retry: `failed` takes over what the last run left in place, if it is of the same rows, and
            asks again for those that failed to download; none makes all anew.
    """

    source: Annotated[str, Member(SOURCES)] = "photo_scenes"
    shard_size: Count = 500
    min_success: Share = 0.5
    retry: Literal["none", "failed"] = "none"
    photo_scenes: PhotoScenes = field(default_factory=PhotoScenes)
    shapes: Shapes = field(default_factory=Shapes)
    folder: Folder = field(default_factory=Folder)
    table: Table = field(default_factory=Table)
    coco_captions: CocoCaptions = field(default_factory=CocoCaptions)
    shards: Shards = field(default_factory=Shards)
    urls: Urls = field(default_factory=Urls)

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, found {self.shard_size}")
        if not 0 <= self.min_success <= 1:
            raise ValueError(f"min_success is a share, 0 to 1, found {self.min_success}")

    def get_source(self) -> Source:
        """The source that `source` names."""
        return getattr(self, self.source)
