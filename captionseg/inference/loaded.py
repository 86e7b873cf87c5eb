"""Loaded models, and labellers: loaded models with a protocol for labelling pictures.

Used by the command line, benchmarks, reports, serving, segment queries and the Python API.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.detections import Detections, detect_masks
from captionseg.inference.model_encoder import check_head, encoder_of
from captionseg.inference.preparation import Preparation, looks_at_regions, preparation
from captionseg.inference.protocols import (
    BACKGROUND,
    ScoringOptions,
    describe_protocol,
    resolve,
    saved_protocol,
)
from captionseg.inference.windows import ResolvedProtocol, label, mask_logits
from captionseg.inference.words import class_vectors
from captionseg.modeling.capabilities import ScoresMasks
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.weights import saved
from captionseg.records import Inputs, UserError, one_line
from captionseg.runtime.device import detect
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.segmenters.region_makers import REGION_MAKERS
from captionseg.segmenters.segmenter import MaskMaker, RegionMaker


@dataclass(frozen=True)
class LoadedModel:
    """A saved model with the frozen encoder that it was trained on.

    Attributes:
        model: a Segmenter, on `device`, in evaluation mode; its config is not changed.
        folder: folder that it was loaded from.
        frozen: returns the frozen encoder, loaded on first use.
        device: device of the model.
        name: key of MODELS.
        context: saved with the model: regions, prompts, refine, masks.
    """

    model: Any
    folder: Path
    frozen: Callable[[], Encoder]
    device: str
    name: str = ""
    context: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def load(
        folder: Path,
        *,
        device: str = "auto",
        frozen: Callable[[], Encoder] | None = None,
        train: str = "dvc repro",
    ) -> LoadedModel:
        """Load a model from a folder.

        Args:
            folder: its folder, such as models/cocu-mil.
            device: auto, cpu, cuda or cuda:N.
            frozen: returns the frozen encoder; only called if needed. None loads the one next to
                the model.
            train: command that trains such a model, for the error message.

        Raises:
            UserError: for a folder without a model, or an encoder that differs from that of the
                training.
        """
        where, stored = detect(device).device, saved.load(folder, train=train)
        encoder = functools.cache(
            frozen or (lambda: load_encoder(encoder_of(folder), device=device))
        )
        model = stored.model.to(where)
        check_head(model, encoder, folder)
        return LoadedModel(model, folder, encoder, where, stored.name, stored.context)

    @property
    def reads(self) -> InputSpec:
        """What the model reads."""
        return self.model.config.reads

    def on_device(self, inputs: Inputs) -> Inputs:
        """Move inputs to the model's device."""
        return inputs.map(lambda tensor: tensor.to(self.device))


@dataclass(frozen=True)
class Labeller:
    """A loaded model, and how it labels pictures.

    Attributes:
        loaded: the model.
        protocol: how it labels.
        maker: makes regions; None if none are needed.
        classes: [C, D] embeddings of the prompted classes; None until they are set.
        description: the protocol for results, see `describe_protocol`.
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
        """Create a labeller for a loaded model.

        Args:
            loaded: the model.
            options: requested options.
            names: [C] class names; the first may be the background. None sets them later.
            default: template set of a benchmark if `options` has none; empty means the protocol's,
                or the one saved with the model.
            regions: whether to make regions from pictures; not needed if a stage made them.

        Raises:
            UserError: for a model saved without its context, or a background score without a
                background.
        """
        model, context = loaded.model, loaded.context
        try:
            saved = saved_protocol(model, context, options, default=default)
            needs_regions = looks_at_regions(
                loaded.reads, saved.refine.method, saved.masks.maker != "regions"
            )
            maker = region_maker(context["regions"]) if needs_regions and regions else None
        except (KeyError, TypeError, ValueError, UserError) as error:
            raise UserError(
                f"{loaded.folder}: not a model of this version of captionseg: config.json, "
                f"context: {one_line(error)}"
            ) from None
        background = None if names is None else bool(names) and names[0] == BACKGROUND
        protocol = resolve(model, saved, options, default=default, background_class=background)
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
        """Load a labeller from a folder; see LoadedModel.load and `of`."""
        loaded = LoadedModel.load(folder, device=options.device, frozen=frozen)
        return Labeller.of(loaded, options, names=names, default=default, regions=regions)

    @property
    def reads(self) -> InputSpec:
        """What the model reads."""
        return self.loaded.reads

    @property
    def refine(self) -> str:
        """How mask logits are refined."""
        return self.protocol.refine.method

    @property
    def segments(self) -> MasksParams | None:
        """The segments that are classified; None for a model that does not read segments."""
        return self.protocol.masks if isinstance(self.loaded.model, ScoresMasks) else None

    @property
    def masks(self) -> MaskMaker | None:
        """The maker of the segments, unless they are the regions."""
        return self.segments.build() if self.segments else None

    def preparation(self) -> Preparation:
        """Return the function that converts a picture to the inputs of model and refinement."""
        return preparation(
            self.reads, self.refine, self.masks, encoder=self.loaded.frozen, maker=self.maker
        )

    def with_classes(self, names: Sequence[str]) -> Labeller:
        """Return a labeller for these classes [C], all of which are prompted."""
        loaded = self.loaded
        vectors = class_vectors(
            loaded.model, loaded.folder, loaded.frozen, names, self.protocol.prompts
        )
        return replace(self, classes=vectors)

    def label(self, inputs: Inputs) -> np.ndarray:
        """Label one picture: numbers of prompted classes, int64 [H, W], -1 for the background."""
        with torch.inference_mode():
            return label(*self._model_arguments(inputs), self.protocol).cpu().numpy()

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Label one picture among all classes, [H, W]: an unprompted background is 0, and the
        prompted classes start at 1.
        """
        return self.label(inputs) + (0 if self.protocol.background.is_prompted else 1)

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Return mask logits float32 [C or more, H, W] of one picture; the prompted classes come
        last.
        """
        with torch.inference_mode():
            return mask_logits(*self._model_arguments(inputs), self.protocol).float().cpu().numpy()

    def detect(self, inputs: Inputs, reported: np.ndarray) -> Detections:
        """Detect the reported classes, bool [C], in one picture, with a model that reads
        segments.
        """
        with torch.inference_mode():
            return detect_masks(
                *self._model_arguments(inputs), torch.from_numpy(reported).to(self.loaded.device)
            )

    def _model_arguments(self, inputs: Inputs) -> tuple[Any, Inputs, Tensor]:
        assert self.classes is not None, "no classes are named"
        return self.loaded.model, self.loaded.on_device(inputs), self.classes


def check_segments(model: Any, what: str) -> None:
    """Refuse masks for a model that does not read segments.

    Raises:
        UserError: starting with `what`.
    """
    if not isinstance(model, ScoresMasks):
        raise UserError(f"{what} does not read segments; remove masks, or use a model such as use")


def region_maker(section: dict[str, Any]) -> RegionMaker:
    """Build the region maker of section `regions` of the params."""
    return REGION_MAKERS[section["maker"]](**(section.get(section["maker"]) or {}))
