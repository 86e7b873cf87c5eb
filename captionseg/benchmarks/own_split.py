"""The benchmark on the run's own data: a split with true masks, from stored features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from captionseg.benchmarks.benchmark import Folders, Sample
from captionseg.datasets.pair_tables import read_classes
from captionseg.datasets.truth_masks import decode_mask
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import LabelledPictures
from captionseg.segmenters.interfaces import MaskMaker


@dataclass(frozen=True)
class HeldOut:
    """The pictures of a split that have true masks, each once. See Benchmark.

    Attributes:
        names: names of the classes.
        kinds: kinds of the classes.
        pictures: the pictures.
        folders: folders of the stages.
        ignore: label of ignored pixels.
        reads: what the model reads.
        refine: method of refinement.
        masks: makes masks that replace regions.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    pictures: LabelledPictures
    folders: Folders
    ignore: int = 255
    reads: InputSpec = field(default_factory=InputSpec)
    refine: str = "none"
    masks: MaskMaker | None = None

    @staticmethod
    def load(folders: Folders, split: str) -> HeldOut:
        """Load the pictures of a split."""
        classes = read_classes(folders.truth)
        pictures = LabelledPictures.of_split(
            folders.prepared.index, folders.truth, split, pairs=folders.prepared.pairs
        )
        return HeldOut(classes.names, classes.kinds, pictures, folders)

    def __len__(self) -> int:
        return len(self.pictures)

    def of(self, reads: InputSpec, refine: str = "none", masks: MaskMaker | None = None) -> HeldOut:
        """See Benchmark."""
        return replace(self, reads=reads, refine=refine, masks=masks)

    def samples(self) -> Iterator[Sample]:
        """See Benchmark."""
        inputs = self.folders.prepared.inputs(self.reads, refine=self.refine, masks=self.masks)
        for number, (uid, mask) in enumerate(
            zip(self.pictures.uid, self.pictures.masks, strict=True)
        ):
            truth = decode_mask(mask)
            size = (truth.shape[0], truth.shape[1])
            yield Sample(uid, inputs(self.pictures.rows[number : number + 1], size), truth)
