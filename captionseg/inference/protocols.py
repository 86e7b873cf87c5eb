"""How a model labels pictures, resolved once from what is saved, what is asked for, and protocols
of the papers, under any of which any model can be scored as far as it makes sense for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Background, Protocol, ResolvedProtocol, WindowParams
from captionseg.inference.words import LEARNT, prompt_name, prompts_of
from captionseg.modeling.capabilities import HasZeroShotChoices, ScoresMasks
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.typed import replace_fields


@dataclass(frozen=True)
class Preset:
    """How a paper labels pictures.

    Attributes:
        source: where that is written.
        protocol: windows, refinement, masks.
        prompts: template set of the classes' names.
        groups: fields of ZeroShot, for models with groups.
        background: score below which a pixel is background, where a benchmark has one and publishes
            none of its own.
    """

    source: str
    protocol: Protocol
    prompts: str
    groups: Mapping[str, Any] = field(default_factory=dict)
    background: float | None = None


BACKGROUND = "background"
"""Name of the class that is no thing, where it is the first of the classes."""
PUBLISHED = WindowParams(short_side=448, crop=448, stride=224)

PROTOCOLS = {
    "groupvit": Preset(
        "Xu et al. 2022, section 4.1, and the released evaluation: one template, the five "
        "likeliest classes of a window, P Q; thresholds .95 (VOC, COCO-Object) and .35 (Context) "
        "were chosen by benchmark",
        Protocol(PUBLISHED, RefineParams("none"), MasksParams(), "groupvit"),
        "simple",
        {"readout": "groups", "score": "product", "top_k": 5, "maps": "soft"},
        0.95,
    ),
    "tcl": Preset(
        "Cha et al. 2023, section 4.1, and the released evaluation: nine templates, a constant "
        "background of .4 with PAMR (.5 without); here PAMR follows the mean over windows, there "
        "it is within each, before its own share of the frozen encoder's masks "
        "(zero_shot.knowledge, a parameter of the model)",
        Protocol(PUBLISHED, RefineParams("pamr"), MasksParams(), "tcl"),
        "tcl",
        background=0.4,
    ),
    "use": Preset(
        "Wang et al. 2024, section 4: overlapping masks (there SAM's, here those of the "
        "hierarchy, which need no weights), each pixel the sum of its masks' probabilities, "
        "whole pictures; the paper names the templates of CLIP-S4, here CLIP's 80",
        Protocol(WindowParams(), RefineParams("none"), MasksParams("hierarchy", "sum"), "use"),
        "imagenet",
    ),
}


def merge_with_preset(name: str, requested: Protocol) -> Protocol:
    """The protocol of that name, but for what is asked for explicitly: windows other than the
    default, a refinement, masks. Windows at once are always as asked.
    """
    preset, windows = PROTOCOLS[name].protocol, requested.windows
    if windows == WindowParams(batch=windows.batch):
        windows = replace(preset.windows, batch=windows.batch)
    return Protocol(
        windows, requested.refine or preset.refine, requested.masks or preset.masks, name
    )


@dataclass(frozen=True)
class ScoringOptions:
    """How models are to label pictures, and how that is scored, as far as somebody asks for it.

    Attributes:
        protocol: how pictures are labelled; its `name` is of PROTOCOLS or empty. Windows are taken
            as they are.
        prompts: template set of the classes' names; empty takes the benchmark's, the protocol's, or
            the one saved with each model, whichever there is first.
        background: score of the background; None takes the protocol's, or the model's own.
        threshold: of the background that was published for this benchmark, for the scores of the
            protocol `groupvit`.
        device: auto, cpu, cuda or cuda:N.
        bootstrap: data sets drawn for intervals.
        most: detections of a picture and a class, where masks of things are scored.
        seed: of the bootstrap.
    """

    protocol: Protocol = field(default_factory=Protocol)
    prompts: str = ""
    background: float | None = None
    threshold: float | None = None
    device: str = "auto"
    bootstrap: int = 1000
    most: int = 100
    seed: int = 0


def saved_protocol(
    model: Any, context: dict[str, Any], options: ScoringOptions, *, default: str = ""
) -> ResolvedProtocol:
    """Windows, refinement, masks and prompts: as they are asked for, else as they were saved.

    Args:
        model: a Segmenter.
        context: that it was saved with.
        options: what is asked for.
        default: template set of a benchmark, where the options name none.

    Raises:
        UserError, KeyError, TypeError: for a context that says nothing sensible about them.
    """
    saved = options.protocol.resolve(context)
    prompts = options.prompts or default
    if not prompts:
        prompts = context["prompts"]
        prompts_of(model, prompts)
    masks = saved.masks if isinstance(model, ScoresMasks) else MasksParams()
    return replace(saved, masks=masks, prompts=prompts)


def resolve(
    model: Any,
    saved: ResolvedProtocol,
    options: ScoringOptions,
    *,
    default: str = "",
    background_class: bool | None = None,
) -> ResolvedProtocol:
    """How a model labels pictures.

    Args:
        model: a Segmenter; nothing of it is changed.
        saved: of `saved_protocol`.
        options: what is asked for.
        default: see there.
        background_class: whether the first class is the background; None where classes are not
            known yet: then pixels below the threshold, if there is one, are none of them.

    Raises:
        UserError: for a background that is asked for where there is none.
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
    if choices is not None:
        limit = background.score if background.policy == "threshold" else None
        choices = replace_fields(choices, {"background": limit}, "config.zero_shot")
    return replace(saved, background=background, zero_shot=choices)


def apply_preset(
    model: Any, name: str, prompts: str, *, background: bool
) -> tuple[str, Any, list[str]]:
    """What a paper's protocol asks of a model.

    Args:
        model: a Segmenter.
        name: of PROTOCOLS.
        prompts: template set that it was saved with.
        background: whether it is one of the classes.

    Returns:
        The template set, the choices of its inference (None where it has none) with their
        background left as it is, and a line for each thing that the protocol asks for and the model
        cannot do.
    """
    preset, reads, skipped = PROTOCOLS[name], model.config.reads, []
    choices = model.zero_shot if isinstance(model, HasZeroShotChoices) else None
    if preset.protocol.windows.crop and not reads.windows:
        skipped.append(
            "windows: it sees a picture whole" + ("" if reads.picture else ", as features")
        )
    if preset.protocol.masks != MasksParams() and not isinstance(model, ScoresMasks):
        skipped.append("masks: it reads no segments")
    if preset.groups:
        if isinstance(choices, ZeroShot):
            choices = replace_fields(choices, dict(preset.groups), "config.zero_shot")
        else:
            skipped.append("product of softmaxes over the likeliest classes: it has no groups")
    if preset.background is not None and not background:
        skipped.append("background: none of the classes")
    template_set = prompt_name(model, preset.prompts)
    if template_set == LEARNT:
        skipped.append("prompts: it has learnt its own")
    return (prompts if template_set == LEARNT else template_set), choices, skipped


def published_background(choices: Any, options: ScoringOptions) -> tuple[float | None, list[str]]:
    """What a protocol has for the background, and a line where it is meant for other scores than
    those of a model with these choices of inference.
    """
    preset = PROTOCOLS[options.protocol.name]
    score = (options.threshold if preset.groups else None) or preset.background
    if score is None:
        return None, []
    if isinstance(choices, ZeroShot) if preset.groups else choices is not None:
        return score, []
    return None, [
        f"background {score:g}: its scores are of another kind; the word is a class instead"
    ]


def choose_background(
    choices: Any, background_class: bool | None, score: float | None
) -> Background:
    """How pixels become background.

    Args:
        choices: of a model's inference; None where it has none.
        background_class: see `resolve`.
        score: that was asked for; None takes the model's, if it has one.

    Raises:
        UserError: for a score where there is no background.
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
    """A protocol in words and numbers, for results: prompts and refine, and where there are any
    background, windows, masks, and of a paper's protocol name, source and what of it the model
    cannot do (skipped).
    """
    reads = model.config.reads
    out: dict[str, Any] = {
        "prompts": prompt_name(model, protocol.prompts),
        "refine": protocol.refine.method,
    }
    if protocol.background.policy != "none":
        out["background"] = asdict(protocol.background)
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
