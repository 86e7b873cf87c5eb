"""Section `pretrain` of params.yaml, and the configs of recipes' models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import MinLen

from captionseg.constraints import Distinct, check_member, suggest
from captionseg.inference.refine import RefineParams
from captionseg.modeling.code_config import CodeConfig
from captionseg.modeling.groupvit import GroupViTConfig
from captionseg.modeling.maskclip import MaskClipConfig
from captionseg.modeling.models import MODELS, PRESETS
from captionseg.modeling.naclip import NaclipConfig
from captionseg.modeling.ovsegmentor_config import OVSegmentorConfig
from captionseg.modeling.proxyclip import ProxyClipConfig
from captionseg.modeling.sam3 import Sam3Config
from captionseg.modeling.sclip import SclipConfig
from captionseg.modeling.segment_mil import SegmentMilConfig
from captionseg.modeling.tcl_config import TclConfig
from captionseg.modeling.use_config import UseConfig
from captionseg.recipes import Recipe
from captionseg.records import UserError
from captionseg.runtime.params import Precision
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.text.prompts import PromptSet
from captionseg.training.augment import AugmentParams
from captionseg.typed import (
    AboveZero,
    Count,
    Device,
    Natural,
    Seed,
    Share,
    ZeroOrMore,
    build,
    replace_fields,
)


@dataclass(frozen=True)
class PretrainParams:
    """Section `pretrain` of params.yaml: the same for every recipe.

    Attributes:
        seeds: seeds, one model each; scores are means over them.
        soup: runs of each seed from the same first weights, whose final weights are averaged, see
            `captionseg.training.soup`; 1 averages nothing.
        epochs: number of epochs.
        batch: number of images per batch, over all processes.
        learning_rate: peak learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        decay_scalars: whether scalars such as logit scales decay too, as in GroupViT's code;
            vectors never do.
        schedule: schedule of the learning rate: one_cycle; poly, see `poly_factor`; or
            warmup_cosine, see `cosine_factor`.
        power: power of poly.
        warmup: length of the linear warm-up of poly and warmup_cosine.
        warmup_unit: unit of `warmup`.
        warmup_from: learning rate of the first step of warmup_cosine, as a share of the peak.
        floor: learning rate at the end of warmup_cosine, as a share of the peak.
        gradient_clip: maximum global norm of gradients.
        texts: L, number of concepts drawn per image and step.
        alike: deviations above the mean similarity of concepts from which two are words of one
            meaning, and no negatives of each other, see `find_alike`; 0 asks for the ends of
            compounds alone.
        prompts: template set for class names, here and in evaluation.
        text_prompts: template set for drawn concepts, one template at random, for models that read
            tokens.
        augment: augmentation of pictures, for models that read pixels.
        shuffle: number of shards whose pairs are shuffled together, in a random order of the
            shards, so that only these are read at a time: for pictures that do not fit into memory.
            0 shuffles all pairs.
        workers: number of processes that prepare batches; 0 means this process.
        tune_side: side of the grid on which the tune split is scored after each epoch.
        device: auto, cpu, cuda or cuda:N.
        precision: precision of training; None takes `runtime.precision`.
        segment_mil, groupvit, ovsegmentor, maskclip, sclip, naclip, proxyclip, tcl, code, use,
            sam3: configs of the models.
    """

    seeds: Annotated[list[Seed], MinLen(1), Distinct()] = field(default_factory=lambda: [0])
    soup: Count = 1
    epochs: Count = 8
    batch: Count = 128
    learning_rate: AboveZero = 2e-3
    weight_decay: ZeroOrMore = 0.05
    decay_scalars: bool = False
    schedule: Literal["one_cycle", "poly", "warmup_cosine"] = "one_cycle"
    power: AboveZero = 0.9
    warmup: Natural = 0
    warmup_unit: Literal["steps", "epochs"] = "steps"
    warmup_from: Share = 0.0
    floor: Share = 0.0
    gradient_clip: AboveZero = 5.0
    texts: Count = 3
    alike: ZeroOrMore = 0.0
    prompts: PromptSet = "simple"
    text_prompts: PromptSet = "imagenet"
    augment: AugmentParams = field(default_factory=AugmentParams)
    shuffle: Natural = 0
    workers: Natural = 0
    tune_side: Count = 56
    device: Device = "auto"
    precision: Precision | None = None
    segment_mil: SegmentMilConfig = field(default_factory=SegmentMilConfig)
    groupvit: GroupViTConfig = field(default_factory=GroupViTConfig)
    ovsegmentor: OVSegmentorConfig = field(default_factory=OVSegmentorConfig)
    maskclip: MaskClipConfig = field(default_factory=MaskClipConfig)
    sclip: SclipConfig = field(default_factory=SclipConfig)
    naclip: NaclipConfig = field(default_factory=NaclipConfig)
    proxyclip: ProxyClipConfig = field(default_factory=ProxyClipConfig)
    tcl: TclConfig = field(default_factory=TclConfig)
    code: CodeConfig = field(default_factory=CodeConfig)
    use: UseConfig = field(default_factory=UseConfig)
    sam3: Sam3Config = field(default_factory=Sam3Config)

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ValueError("seeds: give at least one")
        if self.power <= 0.0 or self.warmup < 0:
            raise ValueError("schedule: power must be above 0, and warmup must not be negative")


def model_config(recipe: Recipe, params: PretrainParams, *, where: str = "recipe") -> Any:
    """Return the config of a recipe's model: a preset or the model's section, with the recipe's
    settings.

    Args:
        recipe: the recipe.
        params: section `pretrain`, with a section for each model.
        where: dotted path of the recipe, for messages.

    Raises:
        UserError: for an unknown model or preset, and for invalid settings.
    """
    check_member(recipe.model, MODELS, f"{where}.model")
    base = getattr(params, recipe.model)
    if recipe.preset:
        if recipe.preset not in PRESETS:
            raise UserError(
                f"{where}: preset {recipe.preset!r} is not valid (valid: {', '.join(PRESETS)})"
                f"{suggest(recipe.preset, PRESETS)}"
            )
        base = PRESETS[recipe.preset]()
        if not isinstance(base, MODELS[recipe.model][0]):
            raise UserError(f"{where}: preset {recipe.preset!r} is not for model {recipe.model}")
    return replace_fields(base, recipe.settings, f"{where}.settings")


def protocol_fields(recipe: Recipe, *, where: str = "recipe") -> dict[str, Any]:
    """Return the sections `refine` and `masks` that a recipe sets; they are saved with its models.

    Raises:
        UserError: for an invalid section, or masks of a model that reads no segments.
    """
    kinds = {"refine": RefineParams, "masks": MasksParams}
    sections = {name: getattr(recipe, name) for name in kinds}
    fields = {
        name: asdict(build(kinds[name], values, f"{where}.{name}"))
        for name, values in sections.items()
        if values is not None
    }
    if "masks" in fields and not hasattr(MODELS[recipe.model][1], "mask_scores"):
        raise UserError(
            f"{where}: masks: model {recipe.model} does not read segments; remove masks, or use "
            "model use"
        )
    return fields
