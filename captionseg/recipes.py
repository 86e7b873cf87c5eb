"""The definition of a recipe. Imports no models or rules: names are checked when models are built,
and when the whole of params.yaml is checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from captionseg.typed import Name


@dataclass(frozen=True)
class Recipe:
    """One row of the comparison: a curation, a model, and settings that differ from the defaults.

    Attributes:
        curation: rule that provides the texts.
        archive: rule whose concepts of a picture are not used as its negatives. If it differs from
            `curation`, the recipe is a control that separates better labels from better negatives.
        model: member of captionseg.modeling.models.MODELS.
        preset: member of captionseg.modeling.models.PRESETS to start from, instead of the model's
            section in `pretrain`.
        settings: model config fields that differ from these.
        training: fields of `pretrain` that differ for this recipe, such as epochs.
        refine: fields of RefineParams for its masks, in evaluation and use; None does not refine.
        masks: fields of MasksParams for the segments that a model which reads segments classifies,
            in evaluation and use; None means the regions that it was trained with.
        about: description for the report, from section `about`; does not affect training.
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
