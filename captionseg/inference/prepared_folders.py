"""The prepared inputs that a model and the refinement of its masks need."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from captionseg.datasets.ids import count_index_shards, read_ids
from captionseg.datasets.random_access import Pictures
from captionseg.dense_maps import DenseMaps, open_dense
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.preparation import needs_pixels, needs_regions
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import PreparedInputs
from captionseg.segmenters.interfaces import MaskMaker


@dataclass(frozen=True)
class PreparedFolders:
    """Folders of pictures and of what the stages made from them."""

    pairs: Path
    index: Path
    regions: Path
    features: Path

    @property
    def encoder(self) -> Path:
        """Folder of the encoder that made the features."""
        return self.features / "encoder"

    def row_of(self) -> dict[str, int]:
        """Return uid -> row of the index, in row order."""
        return {uid: row for row, uid in enumerate(read_ids(self.index)["uid"].to_pylist())}

    def shards(self) -> dict[str, int]:
        """Return shard -> its number of rows in the index, in order; all arrays must match it."""
        return count_index_shards(self.index)

    def pictures(self) -> Pictures:
        """Return the pictures of the index's rows."""
        return Pictures.of_index(self.pairs, self.index)

    def inputs(
        self,
        reads: InputSpec,
        *,
        refine: str = "none",
        side: int = 0,
        masks: MaskMaker | None = None,
        pictures: Pictures | None = None,
    ) -> PreparedInputs:
        """Return the inputs for rows of the index, with only what is needed.

        Args:
            reads: what the model reads.
            refine: method of RefineParams; pamr needs pixels, segments needs regions.
            side: side of square pictures, see PreparedInputs.
            masks: makes masks that replace regions.
            pictures: those of the index's rows; None opens them, if they are needed.
        """
        pixels = needs_pixels(reads, refine)
        regions = needs_regions(reads, refine, masks is not None)
        shards = self.shards()
        return PreparedInputs(
            regions=self.regions if regions else None,
            features=self.features if regions else None,
            pictures=(pictures or self.pictures()) if pixels or masks else None,
            dense=self.dense(shards) if reads.dense else None,
            side=side,
            masks=masks,
            pixels=pixels,
            shards=shards,
        )

    def dense(self, shards: Mapping[str, int]) -> DenseMaps:
        """Return dense features of the index's rows.

        Args:
            shards: result of `shards`.
        """
        encoder = functools.partial(load_encoder, self.encoder)
        return open_dense(self.features, shards, pictures=self.pictures, encoder=encoder)
