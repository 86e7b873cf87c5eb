"""Training: recipes, the data of a step, the one fit loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from captionseg.inference import RefineParams
from captionseg.modeling import (
    MODELS,
    PRESETS,
    CodeConfig,
    GroupViTConfig,
    MaskClipConfig,
    OVSegmentorConfig,
    SegmentMilConfig,
    TclConfig,
    UseConfig,
)
from captionseg.runtime import Precision
from captionseg.segmenters import MasksParams
from captionseg.text.prompts import PromptSet
from captionseg.training.augment import AugmentParams
from captionseg.typed import (
    AboveZero,
    Count,
    Device,
    Distinct,
    Name,
    Natural,
    Seed,
    ZeroOrMore,
    replaced,
)


@dataclass(frozen=True)
class Recipe:
    """One row of the comparison: a curation, a model and where they differ from their defaults.

    Attributes:
        curation: rule whose concepts are the texts.
        archive: rule whose archive says which texts are no negatives. With another rule than
            `curation` this is the control that separates better labels from better negatives.
        model: member of captionseg.modeling.MODELS.
        preset: member of captionseg.modeling.PRESETS that the model starts from, in place of its
            section in `pretrain`.
        settings: model config fields that differ from either.
        training: fields of `pretrain` that differ for this recipe, such as epochs.
        refine: of its masks, in evaluation and in use; None leaves them as they are.
        masks: the segments that its model gives classes to, in evaluation and in use, if it reads
            segments; None is the regions that it was trained with.
        about: what the row stands for, for the report: of section `about`, no part of the training.
    """

    curation: Name
    archive: Name
    model: Literal["segment_mil", "groupvit", "ovsegmentor", "maskclip", "tcl", "code", "use"] = (
        "segment_mil"
    )
    preset: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    refine: RefineParams | None = None
    masks: MasksParams | None = None
    about: str = ""

    def __post_init__(self) -> None:
        if self.preset and self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is not valid (valid: {', '.join(PRESETS)})")
        if self.preset and not isinstance(PRESETS[self.preset](), MODELS[self.model][0]):
            raise ValueError(f"preset {self.preset!r} is none of model {self.model}")
        if self.masks and not hasattr(MODELS[self.model][1], "mask_scores"):
            raise ValueError(
                f"masks: model {self.model} reads no segments; leave masks out, or take model use"
            )


@dataclass(frozen=True)
class PretrainParams:
    """Section `pretrain` of params.yaml: the same for every recipe.

    Attributes:
        seeds: one model each; scores are means over them.
        epochs, batch, learning_rate, weight_decay: of AdamW; a batch is split over all processes.
        schedule: of the learning rate: one_cycle, or poly: (1 - t / T)^power, to 0 over the T
            steps.
        power: of poly.
        warmup: steps over which poly comes up to the learning rate.
        gradient_clip: largest global norm.
        texts: L, concepts drawn an image and step.
        prompts: template set that makes class embeddings, here and in evaluation.
        text_prompts: template set that drawn concepts are put into, one at random, where a model
            reads tokens.
        augment: of pictures, where a model reads pixels.
        workers: processes that prepare batches; 0 prepares them in this one.
        tune_side: side of the grid on which the tune split is scored after each epoch.
        device: of the fit loop.
        precision: likewise; None takes `runtime.precision`.
        segment_mil, groupvit, ovsegmentor, maskclip, tcl, code, use: the models' fields.
    """

    seeds: Annotated[list[Seed], MinLen(1), Distinct()] = field(default_factory=lambda: [0])
    epochs: Count = 8
    batch: Count = 128
    learning_rate: AboveZero = 2e-3
    weight_decay: ZeroOrMore = 0.05
    schedule: Literal["one_cycle", "poly"] = "one_cycle"
    power: AboveZero = 0.9
    warmup: Natural = 0
    gradient_clip: AboveZero = 5.0
    texts: Count = 3
    prompts: PromptSet = "simple"
    text_prompts: PromptSet = "imagenet"
    augment: AugmentParams = field(default_factory=AugmentParams)
    workers: Natural = 0
    tune_side: Count = 56
    device: Device = "auto"
    precision: Precision | None = None
    segment_mil: SegmentMilConfig = field(default_factory=SegmentMilConfig)
    groupvit: GroupViTConfig = field(default_factory=GroupViTConfig)
    ovsegmentor: OVSegmentorConfig = field(default_factory=OVSegmentorConfig)
    maskclip: MaskClipConfig = field(default_factory=MaskClipConfig)
    tcl: TclConfig = field(default_factory=TclConfig)
    code: CodeConfig = field(default_factory=CodeConfig)
    use: UseConfig = field(default_factory=UseConfig)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds: give at least one")
        if self.power <= 0.0 or self.warmup < 0:
            raise ValueError("schedule: power must be above 0, warmup not below 0")


def model_config(recipe: Recipe, params: PretrainParams, *, where: str = "settings") -> Any:
    """The config of a recipe's model: a preset, or the model's section of the params, with the
    recipe's settings.

    Raises:
        UserError: if the recipe sets a field that the model does not have, or what it sets does not
            fit together.
    """
    base = PRESETS[recipe.preset]() if recipe.preset else getattr(params, recipe.model)
    return replaced(base, recipe.settings, where)
