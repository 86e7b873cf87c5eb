"""What of a prepared picture a model, and the refinement of its masks, ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from captionseg.datasets.ids import count_shard_rows, read_ids
from captionseg.datasets.pictures import Pictures
from captionseg.inference.preparation import looks_at_pixels, looks_at_regions
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import PreparedInputs
from captionseg.segmenters.segmenter import MaskMaker


@dataclass(frozen=True)
class PreparedFolders:
    """Where the stages left pictures and what was made of them."""

    pairs: Path
    index: Path
    regions: Path
    features: Path

    @property
    def encoder(self) -> Path:
        """The encoder that features were made by."""
        return self.features / "encoder"

    def row_of(self) -> dict[str, int]:
        """uid -> row of the index, in the order of the rows."""
        return {uid: row for row, uid in enumerate(read_ids(self.index)["uid"].to_pylist())}

    def shards(self) -> dict[str, int]:
        """Shard -> how many rows of the index it has, in their order: what every array of rows is
        read against.
        """
        return count_shard_rows(read_ids(self.index))

    def pictures(self) -> Pictures:
        """Of the rows of the index."""
        return Pictures.of_index(self.pairs, self.index)

    def inputs(
        self,
        reads: InputSpec,
        *,
        refine: str = "none",
        side: int = 0,
        masks: MaskMaker | None = None,
    ) -> PreparedInputs:
        """Inputs of rows of the index, with no more than is needed.

        Args:
            reads: of the model.
            refine: method of RefineParams; pamr looks at pixels, segments at regions.
            side: of square pictures, see PreparedInputs.
            masks: makes masks that take the part of regions.
        """
        pixels = looks_at_pixels(reads, refine)
        regions = looks_at_regions(reads, refine, masks is not None)
        return PreparedInputs(
            regions=self.regions if regions else None,
            pictures=self.pictures() if pixels or masks else None,
            dense=self.features / "dense" if reads.dense else None,
            side=side,
            masks=masks,
            pixels=pixels,
            shards=self.shards(),
        )
