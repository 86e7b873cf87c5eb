"""Benchmarks on folders of pictures and masks; inputs of all models are made from pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from captionseg.benchmarks import own_folder
from captionseg.benchmarks.benchmark import Sample, spread
from captionseg.benchmarks.layout import BACKGROUND, Item, Layout, list_files
from captionseg.benchmarks.mask_files import RAW, read_mask
from captionseg.encoders.encoder import Encoder
from captionseg.images import is_turned
from captionseg.inference.image_files import read_image
from captionseg.inference.preparation import build_preparation
from captionseg.model_inputs import Inputs
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import without_regions
from captionseg.records import UserError
from captionseg.segmenters.interfaces import MaskMaker, RegionMaker


def sizes_only(image: np.ndarray) -> Inputs:
    """Return inputs with only the size of a picture uint8 [H, W, 3]."""
    return without_regions(1, (image.shape[0], image.shape[1]))


@dataclass(frozen=True)
class FolderBenchmark:
    """Pictures with masks, whose files are described by a Layout. See Benchmark.

    Attributes:
        layout: layout of the files.
        names: names of the classes; a background class is the first, named `background`.
        items: the pictures.
        total: number of pictures before `limit`.
        prepare: picture -> inputs, see `of`.
        encoder: returns the frozen encoder, for features.
        maker: makes regions.
        kinds: empty, because kinds are unknown.
        remarks: warnings about the files that affect the meaning of scores, a line each.
    """

    layout: Layout
    names: tuple[str, ...]
    items: tuple[Item, ...]
    total: int
    prepare: Callable[[np.ndarray], Inputs] = sizes_only
    encoder: Callable[[], Encoder] | None = None
    maker: RegionMaker | None = None
    kinds: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @staticmethod
    def open(
        layout: Layout, root: Path, *, limit: int = 0, ignore: Sequence[int] | None = None
    ) -> FolderBenchmark:
        """Open a benchmark.

        Args:
            layout: layout of its files.
            root: folder in which its archives were unpacked, or a folder inside.
            limit: maximum number of pictures, evenly spaced; 0 takes all, and requires the
                published number.
            ignore: for a user's folder, values of masks to ignore, instead of those in its list of
                classes or the layout; classes with these numbers are left out.

        Raises:
            UserError: for a folder that is missing or incomplete; for a user's folder, also for
                invalid masks.
        """
        home = layout.locate(root)
        names, items = layout.classes(home), layout.items(home, root)
        layout.labels(len(names))
        if not limit and layout.count and len(items) != layout.count:
            raise UserError(
                layout.advice(
                    root,
                    f"expected {layout.count} pictures with masks, found {len(items)}; use --limit "
                    "to score fewer",
                )
            )
        selected = tuple(items[number] for number in spread(len(items), limit))
        if not layout.own:
            return FolderBenchmark(layout, names, selected, len(items))
        void = ignore if ignore is not None else own_folder.read_ignored_values(home / layout.names)
        if void is not None:
            layout = replace(
                layout, void=tuple(void), ids=tuple(n for n in range(len(names)) if n not in void)
            )
        scored = tuple(names[number] for number in layout.ids) if void is not None else names
        if not scored:
            raise UserError(
                f"{home / layout.names}: the values of all {len(names)} classes are ignored; leave "
                "one to score"
            )
        benchmark = FolderBenchmark(layout, scored, selected, len(items))
        images = dict(list_files(home, layout.images))
        used = [path for item in items for path in item[1:]]
        remarks = [
            *own_folder.about_names(scored, [name for name in names if name not in scored]),
            *own_folder.about_files(home, (layout.images, layout.masks), used, images),
            *own_folder.about_turned([item.image for item in selected]),
            *benchmark.about_masks(),
        ]
        return replace(benchmark, remarks=tuple(remarks))

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

    def of(
        self, reads: InputSpec, refine: str = "none", masks: MaskMaker | None = None
    ) -> FolderBenchmark:
        """See Benchmark; requires `encoder` and `maker` if the model reads features or regions."""
        return replace(
            self,
            prepare=build_preparation(reads, refine, masks, encoder=self.encoder, maker=self.maker),
        )

    def samples(self) -> Iterator[Sample]:
        """See Benchmark.

        Raises:
            UserError: for a file that cannot be read, a mask whose size differs from its picture's,
                or an invalid value.
        """
        labels = self.layout.labels(len(self.names))
        for item in self.items:
            image, (_, truth) = read_image(item.image), self.truth_of(item, labels)
            if truth.shape != image.shape[:2]:
                raise UserError(
                    f"{item.mask}: {truth.shape[1]} x {truth.shape[0]} pixels, but its picture is "
                    f"{image.shape[1]} x {image.shape[0]}"
                    + (", upright by its EXIF orientation" if is_turned(item.image) else "")
                )
            yield Sample(item.uid, self.prepare(image), truth)

    def truth_of(self, item: Item, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Read a mask.

        Args:
            item: the picture.
            labels: label of each raw value, see Layout.labels.

        Returns:
            raw values [H, W], and labels [H, W].

        Raises:
            UserError: for a file that cannot be read, or a value that is no class.
        """
        raw = read_mask(item.mask, rgb=self.layout.rgb)
        truth = labels[raw]
        if truth.size and truth.min() < 0:
            raise UserError(
                f"{item.mask}: value {raw[truth < 0][0]} is not one of {self.layout.title}'s "
                f"{len(self.names)} classes"
                + ("; use --ignore for values to ignore" if self.layout.own else "")
            )
        return raw, truth

    def about_masks(self) -> list[str]:
        """Read all masks and return remarks about them.

        Raises:
            UserError: for a value that is not a class, or if all pixels are ignored.
        """
        labels, ignore = self.layout.labels(len(self.names)), self.layout.ignore
        raws, counts, blank = np.zeros(RAW, np.int64), np.zeros(RAW, np.int64), []
        for item in self.items:
            raw, truth = self.truth_of(item, labels)
            raws += np.bincount(raw.ravel(), minlength=RAW)
            counts += np.bincount(truth.ravel(), minlength=RAW)
            blank += [item.mask.name] if (truth == ignore).all() else []
        share, values = counts[ignore] / max(1, counts.sum()), np.flatnonzero(raws)
        void = own_folder.join_names([str(value) for value in values if labels[value] == ignore])
        absent = [name for number, name in enumerate(self.names) if not counts[number]]
        if share == 1:
            raise UserError(
                f"{self.items[0].mask.parent}: all masks contain only {void}, which is ignored; "
                "set the values to ignore with --ignore"
            )
        lines = [f"{100 * share:.1f} % of pixels are ignored (value {void})"] if share else []
        if blank:
            lines.append(
                f"{len(blank)} of {len(self.items)} masks have only ignored pixels, such as "
                f"{blank[0]}"
            )
        if absent:
            lines.append(
                f"{len(absent)} of {len(self.names)} classes are in no mask: "
                f"{own_folder.join_names(absent)}; if one is predicted, it counts as 0 in mIoU"
            )
        if set(values) == {0, 255} and share and absent:
            lines.append(
                "masks contain only 0 and 255, and 255 is ignored; if it means a class, use the "
                "class number instead"
            )
        return lines
