"""A saved model that is loaded, with the frozen encoder beside it.

One way for the command line, benchmarks, reports, serving, queries of segments and the Python API.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.inference.model_encoder import check_head, encoder_of
from captionseg.modeling.capabilities import ScoresMasks
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.weights import saved
from captionseg.records import Inputs, UserError
from captionseg.runtime.device import detect


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


def check_segments(model: Any, what: str) -> None:
    """Refuses masks for a model that can do nothing with them.

    Raises:
        UserError: that begins with `what`.
    """
    if not isinstance(model, ScoresMasks):
        raise UserError(f"{what} reads no segments; leave masks out, or take a model such as use")
