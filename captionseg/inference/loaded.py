"""Saved models in use: a loaded model, and the same with how it labels pictures.

One way for the command line, benchmarks, reports, serving, queries of segments and the Python API.
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
        model: a Segmenter, on `device`, in evaluation mode. Nobody changes its config.
        folder: that it was loaded from.
        frozen: gives the frozen encoder, loaded when it is first asked for.
        device: that the model runs on.
        name: key of MODELS.
        context: regions, prompts, refine, masks: what was saved with it.
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
        """The model of a folder.

        Args:
            folder: that holds it, such as models/cocu-mil.
            device: auto, cpu, cuda or cuda:N.
            frozen: gives the frozen encoder; None takes the one beside the model. Not called where
                nobody needs it.
            train: what trains a model of the kind that is needed, for the line that says that there
                is none.

        Raises:
            UserError: for a folder without a model, or one whose encoder is another than that of
                its training.
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
        """Inputs where the model is."""
        return inputs.map(lambda tensor: tensor.to(self.device))


@dataclass(frozen=True)
class Labeller:
    """A loaded model, and how it labels pictures.

    Attributes:
        loaded: the model.
        protocol: how.
        maker: of regions; None where nobody makes any.
        classes: [C, D] embeddings of the classes that are prompted; None until they are named.
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
        """A loaded model that labels as it is asked to.

        Args:
            loaded: the model.
            options: what is asked for.
            names: [C] of the classes; the first may be the background. None names them later.
            default: template set of a benchmark, where `options` name none; empty takes the
                protocol's, or the one saved with the model.
            regions: whether they are to be made of pictures; not where an earlier stage left them.

        Raises:
            UserError: for a model that was saved without what it takes, and for a background that
                is asked for where there is none.
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
        """The model of a folder, see LoadedModel.load, as `of` has it. Raises as both."""
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
        """What is given classes; None for a model that reads no segments."""
        return self.protocol.masks if isinstance(self.loaded.model, ScoresMasks) else None

    @property
    def masks(self) -> MaskMaker | None:
        """Makes the segments, where they are not the regions."""
        return self.segments.build() if self.segments else None

    def preparation(self) -> Preparation:
        """Picture -> what the model and the refinement of its masks read of it."""
        return preparation(
            self.reads, self.refine, self.masks, encoder=self.loaded.frozen, maker=self.maker
        )

    def with_classes(self, names: Sequence[str]) -> Labeller:
        """The same for these classes [C], all of which are prompted."""
        loaded = self.loaded
        vectors = class_vectors(
            loaded.model, loaded.folder, loaded.frozen, names, self.protocol.prompts
        )
        return replace(self, classes=vectors)

    def label(self, inputs: Inputs) -> np.ndarray:
        """[H, W] int64 of one picture: which of the prompted classes, -1 for the background."""
        with torch.inference_mode():
            return label(*self._model_arguments(inputs), self.protocol).cpu().numpy()

    def predict(self, inputs: Inputs) -> np.ndarray:
        """Labels [H, W] of one picture among all classes: where the background is not prompted its
        label is 0, and the prompted classes count from 1.
        """
        return self.label(inputs) + (0 if self.protocol.background.is_prompted else 1)

    def logits(self, inputs: Inputs) -> np.ndarray:
        """Mask logits [C or more, H, W] float32 of one picture; the prompted classes are the last
        C.
        """
        with torch.inference_mode():
            return mask_logits(*self._model_arguments(inputs), self.protocol).float().cpu().numpy()

    def detect(self, inputs: Inputs, reported: np.ndarray) -> Detections:
        """What is found of the wanted classes, bool [C], in one picture, by a model that reads
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
    """Refuses masks for a model that can do nothing with them.

    Raises:
        UserError: that begins with `what`.
    """
    if not isinstance(model, ScoresMasks):
        raise UserError(f"{what} does not read segments; remove masks, or use a model such as use")


def region_maker(section: dict[str, Any]) -> RegionMaker:
    """Of the section `regions` of the params."""
    return REGION_MAKERS[section["maker"]](**(section.get(section["maker"]) or {}))
