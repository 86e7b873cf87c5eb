"""Labels pictures with a loaded model: prompts, windows, refinement, masks and background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captionseg.encoders.encoder import Encoder
from captionseg.inference.class_embeddings import embed_class_names
from captionseg.inference.detections import Detections, detect_masks
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.pixels import label_and_score, label_pixels, mask_logits
from captionseg.inference.preparation import Preparation, build_preparation, needs_regions
from captionseg.inference.protocols import (
    BACKGROUND,
    ScoringOptions,
    describe_protocol,
    merge_saved_protocol,
    resolve_protocol,
)
from captionseg.inference.windows import ResolvedProtocol
from captionseg.model_inputs import Inputs
from captionseg.modeling.capabilities import ScoresMasks
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError, one_line
from captionseg.segmenters.interfaces import MaskMaker, RegionMaker
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.segmenters.region_makers import REGION_MAKERS


@dataclass(frozen=True)
class Labeller:
    """A loaded model with the protocol by which it labels pictures.

    Attributes:
        loaded: the model.
        protocol: the resolved protocol.
        maker: makes regions from pictures; None if none are made.
        classes: [C, D] embeddings of the prompted classes; None until they are set.
        description: description of the protocol for results, see `describe_protocol`.
    """

    loaded: LoadedModel
    protocol: ResolvedProtocol = field(default_factory=ResolvedProtocol)
    maker: RegionMaker | None = None
    classes: Tensor | None = None
    description: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        loaded: LoadedModel,
        options: ScoringOptions,
        *,
        names: Sequence[str] | None = None,
        default: str = "",
        regions: bool = True,
    ) -> Labeller:
        """Resolve how a loaded model labels pictures.

        Args:
            loaded: the model.
            options: requested options.
            names: [C] names of the classes, whose first may be the background; None if they are
                set later.
            default: template set of a benchmark, if `options` have none; empty takes that of the
                protocol or the saved model.
            regions: whether regions are made from pictures, not read from an earlier stage.

        Raises:
            UserError: for a model with an invalid context, and for a background score without a
                background.
        """
        model, context = loaded.model, loaded.context
        try:
            saved = merge_saved_protocol(model, context, options, default=default)
            has_masks = saved.masks.maker != "regions"
            reads_regions = needs_regions(loaded.reads, saved.refine.method, has_masks)
            maker = build_region_maker(context["regions"]) if reads_regions and regions else None
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{loaded.folder}: not a model of this version of captionseg: config.json, "
                f"context: {one_line(error)}"
            ) from None
        background = None if names is None else bool(names) and names[0] == BACKGROUND
        protocol = resolve_protocol(
            model, saved, options, default=default, background_class=background
        )
        labeller = Labeller(loaded, protocol, maker, None, describe_protocol(protocol, model))
        if names is None:
            return labeller
        return labeller.with_classes(names if protocol.background.is_prompted else names[1:])

    @staticmethod
    def load(
        folder: Path,
        options: ScoringOptions,
        *,
        names: Sequence[str] | None = None,
        frozen: Callable[[], Encoder] | None = None,
        default: str = "",
        regions: bool = True,
    ) -> Labeller:
        """Load a model from a folder, see LoadedModel.load; other arguments as of `of`.

        Raises:
            UserError: see LoadedModel.load and `of`.
        """
        loaded = LoadedModel.load(folder, device=options.device, frozen=frozen)
        return Labeller.of(loaded, options, names=names, default=default, regions=regions)

    @property
    def reads(self) -> InputSpec:
        """What the model reads."""
        return self.loaded.reads

    @property
    def refine(self) -> str:
        """Method by which mask logits are refined."""
        return self.protocol.refine.method

    @property
    def segments(self) -> MasksParams | None:
        """Which segments the model classifies; None for a model that reads no segments."""
        return self.protocol.masks if isinstance(self.loaded.model, ScoresMasks) else None

    @property
    def masks(self) -> MaskMaker | None:
        """Makes the segments; None if they are the regions."""
        return self.segments.build() if self.segments else None

    def preparation(self) -> Preparation:
        """Return the function from a picture to the inputs of the model and its refinement."""
        return build_preparation(
            self.reads, self.refine, self.masks, encoder=self.loaded.frozen, maker=self.maker
        )

    def with_classes(self, names: Sequence[str]) -> Labeller:
        """Return a labeller for classes [C], all of which are prompted."""
        loaded = self.loaded
        vectors = embed_class_names(
            loaded.model, loaded.folder, loaded.frozen, names, self.protocol.prompts
        )
        return replace(self, classes=vectors)

    def label(self, inputs: Inputs) -> np.ndarray:
        """Return the prompted class of each pixel, [H, W] int64; -1 is the background."""
        with torch.inference_mode():
            return label_pixels(*self._model_arguments(inputs), self.protocol).cpu().numpy()

    def label_and_score(self, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        """Return the result of `label`, and the score of the best class, float32 [H, W]."""
        with torch.inference_mode():
            labels, best = label_and_score(*self._model_arguments(inputs), self.protocol)
        return labels.cpu().numpy(), best.float().cpu().numpy()

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Return labels [H, W] among all classes; a background that is not prompted is class 0."""
        return self.label(inputs) + (0 if self.protocol.background.is_prompted else 1)

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Return mask logits [C or more, H, W] float32; the prompted classes are the last C."""
        with torch.inference_mode():
            return mask_logits(*self._model_arguments(inputs), self.protocol).float().cpu().numpy()

    def detect(self, inputs: Inputs, reported: np.ndarray) -> Detections:
        """Detect the classes with True in `reported`, bool [C], with a model that
        reads segments.
        """
        with torch.inference_mode():
            return detect_masks(
                *self._model_arguments(inputs), torch.from_numpy(reported).to(self.loaded.device)
            )

    def _model_arguments(self, inputs: Inputs) -> tuple[Any, Inputs, Tensor]:
        assert self.classes is not None, "no classes are named"
        return self.loaded.model, self.loaded.on_device(inputs), self.classes


def build_region_maker(section: dict[str, Any]) -> RegionMaker:
    """Build the region maker of a saved section `regions` of the params."""
    return REGION_MAKERS[section["maker"]](**(section.get(section["maker"]) or {}))
