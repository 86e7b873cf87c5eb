"""The benchmark of the run's own data: a split with exact masks, from features that are there already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from captionseg.benchmarks.benchmark import Folders, Sample
from captionseg.datasets.pictures import Pictures
from captionseg.datasets.shards import decode_mask, read_classes
from captionseg.modeling.segmenter import Reads
from captionseg.prepared import Known, PreparedInputs


@dataclass(frozen=True)
class HeldOut:
    """All pictures of a split whose truth is known; none where `truth` holds nothing of it."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    known: Known
    folders: Folders
    ignore: int = 255
    reads: Reads = field(default_factory=Reads)

    @staticmethod
    def load(folders: Folders, split: str) -> HeldOut:
        """The benchmark of a split."""
        classes = read_classes(folders.truth)
        return HeldOut(classes.names, classes.kinds, Known.of_split(folders.index, folders.truth, split), folders)

    def __len__(self) -> int:
        return len(self.known)

    def of(self, reads: Reads) -> HeldOut:
        """See Benchmark."""
        return replace(self, reads=reads)

    def samples(self) -> Iterator[Sample]:
        """See Benchmark."""
        pictures = Pictures.of_index(self.folders.pairs, self.folders.index) if self.reads.picture else None
        inputs = PreparedInputs(self.folders.regions, pictures)
        for number, (uid, mask) in enumerate(zip(self.known.uid, self.known.masks, strict=True)):
            truth = decode_mask(mask)
            size = (truth.shape[0], truth.shape[1])
            yield Sample(uid, inputs(self.known.rows[number : number + 1], size), truth)
