"""Resolves how a model labels pictures, from its saved context, the requested options and the
papers' protocols, which apply to any model as far as they make sense for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from captionseg.inference.class_embeddings import BARE, LEARNT, choose_templates, name_prompts
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Background, Protocol, ResolvedProtocol, WindowParams
from captionseg.modeling.capabilities import HasZeroShotChoices, ScoresMasks
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.typed import replace_fields


@dataclass(frozen=True)
class Preset:
    """The protocol of a paper.

    Attributes:
        source: where it is described.
        protocol: windows, refinement, masks.
        prompts: template set for class names.
        groups: fields of ZeroShot, for models with groups.
        background: score below which a pixel is background, for benchmarks with a background but
            no published score.
    """

    source: str
    protocol: Protocol
    prompts: str
    groups: Mapping[str, Any] = field(default_factory=dict)
    background: float | None = None


BACKGROUND = "background"
"""Name of the background class, if it is the first class."""
PUBLISHED = WindowParams(short_side=448, crop=448, stride=224)

PROTOCOLS = {
    "groupvit": Preset(
        "Xu et al. 2022, section 4.1, and the released evaluation: one template, the five "
        "likeliest classes of a window, P Q; thresholds .95 (VOC, COCO-Object) and .35 (Context) "
        "were chosen by benchmark",
        Protocol(PUBLISHED, RefineParams("none"), MasksParams(), name="groupvit"),
        "simple",
        {"readout": "groups", "score": "product", "top_k": 5, "maps": "soft"},
        0.95,
    ),
    "tcl": Preset(
        "Cha et al. 2023, section 4.1, and the released evaluation: nine templates, a constant "
        "background of .4 with PAMR (.5 without); here PAMR follows the mean over windows, there "
        "it is within each, before its own share of the frozen encoder's masks "
        "(zero_shot.knowledge, a parameter of the model)",
        Protocol(PUBLISHED, RefineParams("pamr"), MasksParams(), name="tcl"),
        "tcl",
        background=0.4,
    ),
    "use": Preset(
        "Wang et al. 2024, section 4: overlapping masks (there SAM's, here those of the "
        "hierarchy, which need no weights), each pixel the sum of its masks' probabilities, "
        "whole pictures; the paper names the templates of CLIP-S4, here CLIP's 80",
        Protocol(WindowParams(), RefineParams("none"), MasksParams("hierarchy", "sum"), name="use"),
        "imagenet",
    ),
    "sclip": Preset(
        "Wang et al. 2024, released evaluation; background thresholds were chosen by benchmark",
        Protocol(WindowParams(336, 224, 112), RefineParams("none"), MasksParams(), name="sclip"),
        "imagenet",
    ),
    "naclip": Preset(
        "Hajimiri et al. 2025, released evaluation, without PAMR; thresholds as for SCLIP",
        Protocol(WindowParams(336, 224, 112), RefineParams("none"), MasksParams(), name="naclip"),
        "imagenet",
    ),
    "proxyclip": Preset(
        "Lan et al. 2024, released evaluation; thresholds as for SCLIP",
        Protocol(
            WindowParams(336, 336, 112), RefineParams("none"), MasksParams(), name="proxyclip"
        ),
        "imagenet",
    ),
}


def merge_with_preset(name: str, requested: Protocol) -> Protocol:
    """Return the protocol of that name with explicit requests on top: windows other than the
    default, refinement, masks, and always the batch of windows.
    """
    preset, windows = PROTOCOLS[name].protocol, requested.windows
    if windows == WindowParams(batch=windows.batch):
        windows = replace(preset.windows, batch=windows.batch)
    return Protocol(
        windows,
        requested.refine or preset.refine,
        requested.masks or preset.masks,
        requested.contrast,
        name,
    )


@dataclass(frozen=True)
class ScoringOptions:
    """The requested options for labelling and scoring.

    Attributes:
        protocol: how pictures are labelled; its `name` is in PROTOCOLS or empty.
        prompts: template set for class names; empty uses that of the benchmark, the protocol, or
            the saved model, in this order.
        background: score of the background; None uses the protocol's, or the model's.
        threshold: background threshold published for this benchmark, for the scores of protocol
            `groupvit`.
        device: auto, cpu, cuda or cuda:N.
        bootstrap: number of bootstrap samples for intervals.
        most: maximum number of detections per picture and class, for mask precision.
        seed: seed of the bootstrap.
    """

    protocol: Protocol = field(default_factory=Protocol)
    prompts: str = ""
    background: float | None = None
    threshold: float | None = None
    device: str = "auto"
    bootstrap: int = 1000
    most: int = 100
    seed: int = 0


def merge_saved_protocol(
    model: Any, context: dict[str, Any], options: ScoringOptions, *, default: str = ""
) -> ResolvedProtocol:
    """Resolve windows, refinement, masks and prompts: as requested, otherwise as saved.

    Args:
        model: a Segmenter.
        context: its saved context.
        options: requested options.
        default: template set of a benchmark, if the options have none.

    Raises:
        UserError, KeyError, TypeError: for an invalid context.
    """
    saved = options.protocol.resolve(context)
    prompts = options.prompts or default
    if not prompts:
        prompts = context["prompts"]
        choose_templates(model, prompts)
    masks = saved.masks if isinstance(model, ScoresMasks) else MasksParams()
    return replace(saved, masks=masks, prompts=prompts)


def resolve_protocol(
    model: Any,
    saved: ResolvedProtocol,
    options: ScoringOptions,
    *,
    default: str = "",
    background_class: bool | None = None,
) -> ResolvedProtocol:
    """Resolve how a model labels pictures.

    Args:
        model: a Segmenter, which is not changed.
        saved: result of `merge_saved_protocol`.
        options: requested options.
        default: see `merge_saved_protocol`.
        background_class: whether the first class is the background; None if the classes are not
            known yet, in which case pixels below the threshold, if any, get no class.

    Raises:
        UserError: for a background score without a background.
    """
    name, score = options.protocol.name, options.background
    choices = model.zero_shot if isinstance(model, HasZeroShotChoices) else None
    if name:
        prompts, choices, skipped = apply_preset(
            model, name, saved.prompts, background=bool(background_class)
        )
        prompts = options.prompts or default or prompts
        if background_class and score is None:
            score, missing = published_background(choices, options)
            if missing and choices is not None:
                choices = replace(choices, background=None)
            skipped += missing
        saved = replace(saved, prompts=prompts, paper=name, skipped=tuple(skipped))
    background = choose_background(choices, background_class, score)
    if saved.contrast and background.score is not None:
        raise UserError(
            f"contrast: {saved.contrast:g} shifts the scores that the background score "
            f"{background.score:g} is compared with; set one of them to 0, or omit it"
        )
    if choices is not None:
        limit = background.score if background.policy == "threshold" else None
        choices = replace_fields(choices, {"background": limit}, "config.zero_shot")
    return replace(saved, background=background, zero_shot=choices)


def apply_preset(
    model: Any, name: str, prompts: str, *, background: bool
) -> tuple[str, Any, list[str]]:
    """Apply a paper's protocol to a model.

    Args:
        model: a Segmenter.
        name: key of PROTOCOLS.
        prompts: template set saved with the model.
        background: whether the background is a class.

    Returns:
        the template set; the model's inference settings, if any, with unchanged background; and a
        line for each part of the protocol that the model does not support.
    """
    preset, reads, skipped = PROTOCOLS[name], model.config.reads, []
    choices = model.zero_shot if isinstance(model, HasZeroShotChoices) else None
    if preset.protocol.windows.crop and not reads.windows:
        how = "" if reads.picture else ", as features"
        skipped.append(f"windows: it sees a picture whole{how}")
    if preset.protocol.masks != MasksParams() and not isinstance(model, ScoresMasks):
        skipped.append("masks: it reads no segments")
    if preset.groups:
        if isinstance(choices, ZeroShot):
            choices = replace_fields(choices, dict(preset.groups), "config.zero_shot")
        else:
            skipped.append("product of softmaxes over the likeliest classes: it has no groups")
    if preset.background is not None and not background:
        skipped.append("background: none of the classes")
    template_set = name_prompts(model, preset.prompts)
    reasons = {LEARNT: "prompts: it has learnt its own", BARE: "prompts: it takes names alone"}
    if template_set in reasons:
        skipped.append(reasons[template_set])
    return (prompts if template_set in reasons else template_set), choices, skipped


def published_background(choices: Any, options: ScoringOptions) -> tuple[float | None, list[str]]:
    """Return a protocol's background score, and a line if it is not applicable to the scores of a
    model with these inference settings.
    """
    preset = PROTOCOLS[options.protocol.name]
    score = (options.threshold if preset.groups else None) or preset.background
    if score is None:
        return None, []
    if isinstance(choices, ZeroShot) if preset.groups else choices is not None:
        return score, []
    line = f"background {score:g}: its scores are of another kind; the word is a class instead"
    return None, [line]


def choose_background(
    choices: Any, background_class: bool | None, score: float | None
) -> Background:
    """Choose how pixels become background.

    Args:
        choices: inference settings of the model; None if it has none.
        background_class: see `resolve_protocol`.
        score: requested score; None uses the model's, if any.

    Raises:
        UserError: for a score without a background.
    """
    if background_class is False:
        if score is not None:
            raise UserError("--background: this benchmark has no background class; omit the option")
        return Background()
    without = Background("word") if background_class else Background()
    if choices is None:
        return without if score is None else Background("constant", score)
    score = choices.background if score is None else score
    return without if score is None else Background("threshold", score)


def describe_protocol(protocol: ResolvedProtocol, model: Any) -> dict[str, Any]:
    """Describe a protocol for results: prompts and refine; if applicable background, contrast,
    windows and masks; and for a paper's protocol its name, source and unsupported parts (skipped).
    """
    reads = model.config.reads
    out: dict[str, Any] = {
        "prompts": name_prompts(model, protocol.prompts),
        "refine": protocol.refine.method,
    }
    if protocol.background.policy != "none":
        out["background"] = asdict(protocol.background)
    if protocol.contrast:
        out["contrast"] = protocol.contrast
    if reads.windows:
        out["windows"] = asdict(protocol.windows)
    if reads.segments:
        out["masks"] = protocol.masks.maker
    if protocol.paper:
        out |= {
            "name": protocol.paper,
            "source": PROTOCOLS[protocol.paper].source,
            "skipped": list(protocol.skipped),
        }
    return out
