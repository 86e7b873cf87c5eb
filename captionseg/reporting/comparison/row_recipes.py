"""Our recipes that correspond to rows of the papers' tables, and the commands that score them."""

from __future__ import annotations

from collections.abc import Mapping

GROUPS = ("nouns-groupvit", "cocu-groupvit", "nouns-mil", "cocu-mil")
LOSSES = (
    "entities_contrast-ovsegmentor",
    "entities_completion-ovsegmentor",
    "entities_mask-ovsegmentor",
    "entities-ovsegmentor",
)
OBJECTIVES = tuple(
    f"entities_{objective}-ovsegmentor"
    for objective in (
        "completion",
        "single_entity",
        "all_nouns",
        "multi_label",
        "mlm_groups",
        "mlm",
    )
)
RATIOS = tuple(
    "entities-ovsegmentor"
    if (groups, share) == (8, 50)
    else f"entities_{groups}_{share}-ovsegmentor"
    for groups in (8, 16)
    for share in (25, 50, 75, 100)
)
AGREEMENTS = ("entities-ovsegmentor", "entities_agreeing-ovsegmentor")
CODES = ("nouns_whole-code", "nouns_plain-code", "nouns_words-code", "nouns-code")
USES = ("segments-use", "cocu-use", "cocu_masks-use", "cocu_calibrated-use")

EXPERIMENTS = {
    "ablation": ("caption_retrieval-mil", "cocu_naive-mil", "cocu_ranked-mil"),
    "groups": ("nouns-groupvit", "cocu-groupvit", "entities-ovsegmentor", "cocu-ovsegmentor"),
    "frozen": ("none-maskclip", "captions-tcl", "nouns-code", "cocu-code"),
    "segments": USES[:3],
    "segments_calibrated": USES[3:],
    "ovsegmentor_losses": LOSSES[:3],
    "ovsegmentor_objectives": OBJECTIVES[1:],
    "ovsegmentor_groups": tuple(name for name in RATIOS if name != "entities-ovsegmentor"),
    "ovsegmentor_consistency": AGREEMENTS[1:],
    "code_parts": CODES[:3],
}
"""Experiment -> its recipes that occur in the papers' tables."""
COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("nouns-mil", "cocu-mil", "cocu_calibrated-mil"), "dvc repro"),
    **{
        recipe: f"make experiment NAME={name}"
        for name, recipes in EXPERIMENTS.items()
        for recipe in recipes
    },
}
"""Recipe -> the command that scores it on the run's own pictures."""
EVALUATE = "captionseg evaluate --recipe {} --benchmark {} --root /data"
EVALUATE_OWN = "captionseg evaluate --recipe {} --benchmark {}"
"""For a benchmark of the checkout's own pictures."""
