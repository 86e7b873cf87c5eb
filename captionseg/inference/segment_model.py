"""A trained model with one space for segments and the texts that name them (USE), in use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from captionseg.encoders.encoder import Encoder
from captionseg.inference.inputs import PreparedFolders
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.words import embed_class_names
from captionseg.modeling.capabilities import EmbedsSegments
from captionseg.prepared import PreparedInputs
from captionseg.records import UserError


@dataclass(frozen=True)
class SegmentModel:
    """A trained model that embeds segments and the texts that name them in one space.

    Attributes:
        loaded: a model that has `embed_inputs`.
    """

    loaded: LoadedModel

    @staticmethod
    def load(
        folder: Path, *, device: str = "auto", frozen: Callable[[], Encoder] | None = None
    ) -> SegmentModel:
        """The model of a folder such as models/cocu-use; `frozen` is by default the encoder beside
        it.

        Raises:
            UserError: if the folder holds no model, or one that embeds no segments.
        """
        loaded = LoadedModel.load(
            folder, device=device, frozen=frozen, train="make experiment NAME=segments"
        )
        model = SegmentModel.of(loaded)
        if model is None:
            raise UserError(
                f"{folder}: model {loaded.name} cannot embed segments; use a recipe with "
                "`model: use`"
            )
        if loaded.reads.holds_encoder:
            loaded.model.attach(loaded.frozen())
        return model

    @staticmethod
    def of(loaded: LoadedModel) -> SegmentModel | None:
        """Of a loaded model; None for one that embeds no segments."""
        return SegmentModel(loaded) if isinstance(loaded.model, EmbedsSegments) else None

    @property
    def dims(self) -> int:
        """D of the space."""
        return self.loaded.model.config.text_width

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """[T, D] float32: L2-normalised means over the templates that the model was trained
        with."""
        loaded = self.loaded
        vectors = embed_class_names(
            loaded.model, loaded.folder, loaded.frozen, texts, loaded.reads.prompts
        )
        return vectors.float().cpu().numpy()

    def inputs(self, prepared: PreparedFolders) -> PreparedInputs:
        """Rows of the index as the model reads them; segments are given, so nobody looks at
        regions.
        """
        return prepared.inputs(replace(self.loaded.reads, segments=0))

    def segments(self, inputs: PreparedInputs, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """[B, S, D] float32, L2-normalised, of masks bool [B, S, H, W] of pictures that are `rows`
        [B] of the index.
        """
        loaded = self.loaded
        moved = loaded.on_device(inputs(rows, (masks.shape[2], masks.shape[3])))
        with torch.inference_mode():
            vectors = loaded.model.embed_inputs(moved, torch.from_numpy(masks).to(loaded.device))
        return vectors.float().cpu().numpy()
