"""The run's own data outside DVC: pictures of a split with exact masks, in the checkout where a run
left them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from captionseg.benchmarks.benchmark import Folders, spread
from captionseg.benchmarks.held_out import HeldOut
from captionseg.inference.inputs import PreparedFolders
from captionseg.prepared import LabelledPictures
from captionseg.records import UserError


@dataclass(frozen=True)
class OwnData:
    """A split of the data of a checkout.

    Attributes:
        title: what people call it.
        source: what its masks are.
        split: whose pictures are scored.
    """

    title: str = "the run's own data"
    source: str = "masks that the stage download left, used nowhere but in evaluation"
    split: str = "test"

    def open(self, root: Path, *, limit: int = 0) -> tuple[HeldOut, int]:
        """The pictures of the split, of which `limit` are spread evenly over it (0 takes all), and
        how many it has.

        Raises:
            UserError: where no run left any.
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
