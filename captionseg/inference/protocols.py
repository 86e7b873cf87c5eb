"""Protocols of the papers as data: any model can be scored under any of them, as far as it makes
sense for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol, WindowParams
from captionseg.inference.words import LEARNT, prompt_name
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.segmenters import MasksParams
from captionseg.typed import replaced


@dataclass(frozen=True)
class Preset:
    """How a paper labels pictures.

    Attributes:
        source: where that is written.
        asked: windows, refinement, masks.
        prompts: template set of the classes' names.
        groups: fields of ZeroShot, for models with groups.
        background: score below which a pixel is background, where a benchmark has one and publishes
            none of its own.
    """

    source: str
    asked: Protocol
    prompts: str
    groups: Mapping[str, Any] = field(default_factory=dict)
    background: float | None = None


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


def resolved(name: str, asked: Protocol) -> Protocol:
    """The protocol of that name, but for what is asked for explicitly: windows other than the
    default, a refinement, masks. Windows at once are always as asked."""
    preset, windows = PROTOCOLS[name].asked, asked.windows
    if windows == WindowParams(batch=windows.batch):
        windows = replace(preset.windows, batch=windows.batch)
    return Protocol(windows, asked.refine or preset.refine, asked.masks or preset.masks, name)


def applied(model: Any, name: str, prompts: str, *, background: bool) -> tuple[str, list[str]]:
    """Make a model infer as a protocol says.

    Args:
        model: a Segmenter; its config is replaced, the background is left as it is.
        name: of PROTOCOLS.
        prompts: template set that it was saved with.
        background: whether it is one of the classes.

    Returns:
        The template set, and a line for each thing that the protocol asks for and the model cannot
        do.
    """
    preset, reads, skipped = PROTOCOLS[name], model.config.reads, []
    if preset.asked.windows.crop and not reads.windows:
        skipped.append(
            "windows: it sees a picture whole" + ("" if reads.picture else ", as features")
        )
    if preset.asked.masks != MasksParams() and not hasattr(model, "mask_scores"):
        skipped.append("masks: it reads no segments")
    if preset.groups:
        if isinstance(getattr(model.config, "zero_shot", None), ZeroShot):
            model.config = replaced(model.config, {"zero_shot": dict(preset.groups)}, "config")
        else:
            skipped.append("product of softmaxes over the likeliest classes: it has no groups")
    if preset.background is not None and not background:
        skipped.append("background: none of the classes")
    found = prompt_name(model, preset.prompts)
    if found == LEARNT:
        skipped.append("prompts: it has learnt its own")
    return (prompts if found == LEARNT else found), skipped
