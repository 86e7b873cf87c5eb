"""The benchmark of the run's own data: a split with exact masks, from features that are there already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from captionseg.benchmarks.benchmark import Folders, Sample
from captionseg.datasets.shards import decode_mask, read_classes
from captionseg.prepared import Known, PreparedInputs


@dataclass(frozen=True)
class HeldOut:
    """All pictures of a split whose truth is known; none where `truth` holds nothing of it."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    known: Known
    folders: Folders
    ignore: int = 255

    @staticmethod
    def load(folders: Folders, split: str) -> HeldOut:
        """The benchmark of a split."""
        classes = read_classes(folders.truth)
        return HeldOut(classes.names, classes.kinds, Known.of_split(folders.index, folders.truth, split), folders)

    def __len__(self) -> int:
        return len(self.known)

    def samples(self) -> Iterator[Sample]:
        """See Benchmark."""
        inputs = PreparedInputs(self.folders.regions)
        for number, (uid, mask) in enumerate(zip(self.known.uid, self.known.masks, strict=True)):
            truth = decode_mask(mask)
            size = (truth.shape[0], truth.shape[1])
            yield Sample(uid, inputs(self.known.rows[number : number + 1], size), truth)
