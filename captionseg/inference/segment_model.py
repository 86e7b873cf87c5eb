"""A trained model that embeds segments and the texts that name them in one space (USE)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from captionseg.encoders.encoder import Encoder
from captionseg.inference.class_embeddings import embed_class_names
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.modeling.capabilities import EmbedsSegments
from captionseg.prepared import PreparedInputs
from captionseg.records import UserError


@dataclass(frozen=True)
class SegmentModel:
    """A trained model that embeds segments and the texts that name them in one space.

    Attributes:
        loaded: a model with the capability EmbedsSegments.
    """

    loaded: LoadedModel

    @staticmethod
    def load(
        folder: Path, *, device: str = "auto", frozen: Callable[[], Encoder] | None = None
    ) -> SegmentModel:
        """Load a model from a folder such as models/cocu-use; arguments as of LoadedModel.load.

        Raises:
            UserError: for a folder without a model, or with one that does not embed segments.
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
        """Wrap a loaded model; None if it does not embed segments."""
        return SegmentModel(loaded) if isinstance(loaded.model, EmbedsSegments) else None

    @property
    def dims(self) -> int:
        """D, the width of the space."""
        return self.loaded.model.config.text_width

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed T texts: [T, D] float32, L2-normalised means over the templates of the training."""
        loaded = self.loaded
        vectors = embed_class_names(
            loaded.model, loaded.folder, loaded.frozen, texts, loaded.reads.prompts
        )
        return vectors.float().cpu().numpy()

    def inputs(self, prepared: PreparedFolders) -> PreparedInputs:
        """Return the inputs for rows of the index, without regions."""
        return prepared.inputs(replace(self.loaded.reads, segments=0))

    def segments(self, inputs: PreparedInputs, rows: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Embed segments: [B, S, D] float32, L2-normalised.

        Args:
            inputs: makes inputs for rows of the index.
            rows: [B] rows of the pictures.
            masks: bool [B, S, H, W] masks of the segments.
        """
        loaded = self.loaded
        moved = loaded.on_device(inputs(rows, (masks.shape[2], masks.shape[3])))
        with torch.inference_mode():
            vectors = loaded.model.embed_inputs(moved, torch.from_numpy(masks).to(loaded.device))
        return vectors.float().cpu().numpy()
