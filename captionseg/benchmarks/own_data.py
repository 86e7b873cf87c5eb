"""The run's own data as a benchmark outside of DVC: a split with true masks in a checkout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from captionseg.benchmarks.benchmark import Folders, spread
from captionseg.benchmarks.own_split import HeldOut
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.prepared import LabelledPictures
from captionseg.records import UserError


@dataclass(frozen=True)
class OwnData:
    """A split of the data of a checkout.

    Attributes:
        title: title for people.
        source: source of the masks.
        split: split that is scored.
    """

    title: str = "the run's own data"
    source: str = "masks that the stage download left, used nowhere but in evaluation"
    split: str = "test"

    def open(self, root: Path, *, limit: int = 0) -> tuple[HeldOut, int]:
        """Open the benchmark.

        Args:
            root: root of the checkout.
            limit: maximum number of pictures, evenly spaced; 0 takes all.

        Returns:
            the pictures, and the number of pictures of the split.

        Raises:
            UserError: if a run has not made them.
        """
        data = root / "data"
        prepared = PreparedFolders(
            data / "pairs", data / "index", data / "regions", data / "features"
        )
        needed = (prepared.index / "ids.parquet", data / "truth", prepared.regions, prepared.pairs)
        for path in needed:
            if not path.exists():
                raise UserError(
                    f"{path}: does not exist; run `dvc repro` in {root}, or give the root of a "
                    "checkout as --root"
                )
        benchmark = HeldOut.load(Folders(prepared, data / "truth"), self.split)
        if not len(benchmark):
            raise UserError(
                f"{data / 'truth'}: has no masks for split {self.split!r}, so nothing can be scored"
            )
        pictures, selected = benchmark.pictures, spread(len(benchmark), limit)
        part = LabelledPictures(
            [pictures.uid[i] for i in selected],
            pictures.rows[selected],
            [pictures.masks[i] for i in selected],
        )
        return replace(benchmark, pictures=part), len(benchmark)
