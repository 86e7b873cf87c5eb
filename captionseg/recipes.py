"""What a row of the comparison is. Nothing here imports a model or a rule: whether there is one of
that name is checked where models are built, and with the whole of params.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from captionseg.typed import Name


@dataclass(frozen=True)
class Recipe:
    """One row of the comparison: a curation, a model and where they differ from their defaults.

    Attributes:
        curation: rule whose concepts are the texts.
        archive: rule whose archive says which texts are no negatives. With another rule than
            `curation` this is the control that separates better labels from better negatives.
        model: member of captionseg.modeling.models.MODELS.
        preset: member of captionseg.modeling.models.PRESETS that the model starts from, in place of
            its section in `pretrain`.
        settings: model config fields that differ from either.
        training: fields of `pretrain` that differ for this recipe, such as epochs.
        refine: fields of RefineParams: of its masks, in evaluation and in use; None leaves them as
            they are.
        masks: fields of MasksParams: the segments that its model gives classes to, in evaluation
            and in use, if it reads segments; None is the regions that it was trained with.
        about: what the row stands for, for the report: of section `about`, no part of the training.
    """

    curation: Name
    archive: Name
    model: str = "segment_mil"
    preset: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    refine: dict[str, Any] | None = None
    masks: dict[str, Any] | None = None
    about: str = ""
