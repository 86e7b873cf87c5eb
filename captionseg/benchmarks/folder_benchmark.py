"""Benchmarks over folders: pictures and masks as they come, inputs made from pixels for whichever model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from captionseg.benchmarks.benchmark import Sample, spread
from captionseg.benchmarks.layout import BACKGROUND, Item, Layout, read_mask
from captionseg.encoders import Encoder
from captionseg.inference.predictor import Preparation, read_image
from captionseg.modeling.segmenter import Reads
from captionseg.prepared import without_regions
from captionseg.records import Inputs, UserError
from captionseg.segmenters import MaskMaker, RegionMaker


def sizes_only(image: np.ndarray) -> Inputs:
    """Inputs that hold nothing but the size of uint8 [H, W, 3]: what a predictor gets that reads nothing."""
    return without_regions(1, (image.shape[0], image.shape[1]))


def preparation(reads: Reads, refine: str, masks: MaskMaker | None, *, encoder: Callable[[], Encoder] | None,
                maker: RegionMaker | None) -> Preparation:  # fmt: skip
    """Picture -> what a model and the refinement of its masks read of it; see Benchmark.of."""
    regions = (reads.labels and masks is None) or refine == "segments"
    pixels = bool(reads.picture) or refine == "pamr"
    frozen = encoder() if encoder is not None and reads.encoder else None
    return Preparation(reads, frozen, maker if regions else None, pixels, masks)


@dataclass(frozen=True)
class FolderBenchmark:
    """Pictures with masks that lie as a Layout says.

    Attributes:
        layout: of its files.
        names: see Benchmark; where the background is a class it is the first and named `background`.
        items: its pictures.
        total: how many there were before `limit`.
        prepare: picture -> inputs, see `of`.
        encoder: gives the frozen encoder that `of` makes features with.
        maker: of regions.
        kinds: see Benchmark; nobody says.
    """

    layout: Layout
    names: tuple[str, ...]
    items: tuple[Item, ...]
    total: int
    prepare: Callable[[np.ndarray], Inputs] = sizes_only
    encoder: Callable[[], Encoder] | None = None
    maker: RegionMaker | None = None
    kinds: tuple[str, ...] = ()

    @staticmethod
    def open(layout: Layout, root: Path, *, limit: int = 0) -> FolderBenchmark:
        """The benchmark below a root.

        Args:
            layout: of its files.
            root: folder that its archives were unpacked in, or one inside.
            limit: at most so many pictures, spread evenly over the list; 0 takes all, and wants all there are.

        Raises:
            UserError: for a folder that is missing or half unpacked.
        """
        home = layout.found(root)
        names, items = layout.classes(home), layout.items(home, root)
        layout.labels(len(names))
        if not limit and layout.count and len(items) != layout.count:
            raise UserError(layout.advice(root, f"{len(items)} pictures with masks where the split has {layout.count}, "
                                          "which --limit may be given for"))  # fmt: skip
        kept = spread(len(items), limit)
        return FolderBenchmark(layout, names, tuple(items[number] for number in kept), len(items))

    @property
    def ignore(self) -> int:
        """See Benchmark."""
        return self.layout.ignore

    @property
    def background(self) -> bool:
        """Whether the first class is the background."""
        return self.names[0] == BACKGROUND

    def __len__(self) -> int:
        return len(self.items)

    def of(self, reads: Reads, refine: str = "none", masks: MaskMaker | None = None) -> FolderBenchmark:
        """See Benchmark; `encoder` and `maker` have to be there where the model asks for what they make."""
        return replace(self, prepare=preparation(reads, refine, masks, encoder=self.encoder, maker=self.maker))

    def samples(self) -> Iterator[Sample]:
        """See Benchmark.

        Raises:
            UserError: for a file that cannot be read, a mask of another size than its picture, or a value in it that
                is no class.
        """
        labels = self.layout.labels(len(self.names))
        for item in self.items:
            image, raw = read_image(item.image), read_mask(item.mask, rgb=self.layout.rgb)
            truth = labels[raw]
            if truth.shape != image.shape[:2]:
                raise UserError(f"{item.mask}: {truth.shape[1]} x {truth.shape[0]} pixels, but its picture has "
                                f"{image.shape[1]} x {image.shape[0]}")  # fmt: skip
            if truth.size and truth.min() < 0:
                raise UserError(f"{item.mask}: holds the value {raw[truth < 0][0]}, which is none of "
                                f"{self.layout.title}'s {len(self.names)} classes")  # fmt: skip
            yield Sample(item.uid, self.prepare(image), truth)
