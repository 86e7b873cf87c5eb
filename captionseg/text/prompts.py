"""Prompt templates, and class embeddings from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from captionseg.records import UserError
from captionseg.remarks import quote, quote_first, warn_once

UNKNOWN = ("", "\U0001fae8")  # nothing, and an emoji that is in no vocabulary of word pieces

SIMPLE = ("a photo of a {}.",)
"""GroupViT's segmentation prompt, full stop included."""

SEGMENT = (
    "a photo of {}",
    "This is a photo of {}",
    "There is {} in the scene",
    "a photo of {} in the scene",
)
"""USE's four."""

TCL = (
    "itap of a {}.",
    "a bad photo of a {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "a photo of many {}.",
    "a photo of {}s.",
)
"""TCL's nine: seven of CLIP's, and two plurals."""

PromptSet = Literal["simple", "segment", "tcl", "imagenet"]
PROMPTS: tuple[PromptSet, ...] = get_args(PromptSet)


def read_templates(name: str) -> tuple[str, ...]:
    """The templates of a set, each with one {}; `imagenet` are CLIP's 80.

    Raises:
        UserError: for a name that is not in PROMPTS.
    """
    if name == "imagenet":
        from open_clip import OPENAI_IMAGENET_TEMPLATES  # seconds to import

        return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    try:
        return {"simple": SIMPLE, "segment": SEGMENT, "tcl": TCL}[name]
    except KeyError:
        raise UserError(f"prompts: {name!r} is not valid (valid: {', '.join(PROMPTS)})") from None


def embed_classes(
    names: Sequence[str],
    encode: Callable[[Sequence[str]], np.ndarray],
    templates: Sequence[str] = SIMPLE,
) -> np.ndarray:
    """[C, D] float32: L2-normalised mean over templates of the embeddings of the prompted names.

    Args:
        names: [C] class names or concepts.
        encode: texts -> [T, D] embeddings.
        templates: each with one {}.
    """
    classes = average_prompts(names, encode, templates)
    warn_indistinguishable(names, classes)
    unusual = [i for i, name in enumerate(names) if name and not re.search("[A-Za-z0-9]", name)]
    if unusual:
        unknown = average_prompts(UNKNOWN, encode, templates)
        unencodable = [
            names[i] for i in unusual if (np.abs(unknown - classes[i]).max(1) < ALIKE).any()
        ]
        if unencodable:
            warn_once(
                f"the text encoder knows no character of {quote_first(unencodable)}, so scores of "
                "such names are meaningless"
            )
    return classes


ALIKE = 1e-5  # of L2-normalised embeddings: the same tokens in batches of other widths


def average_prompts(
    names: Sequence[str], encode: Callable[[Sequence[str]], np.ndarray], templates: Sequence[str]
) -> np.ndarray:
    """`embed_classes` without its warnings."""
    texts = [template.format(name) for name in names for template in templates]
    mean = encode(texts).reshape(len(names), len(templates), -1).mean(1)
    return (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)).astype(
        np.float32
    )


def warn_indistinguishable(names: Sequence[str], embeddings: np.ndarray) -> None:
    """Warn about different names with equal embeddings: one of them would never be predicted."""
    line = embeddings @ np.cos(np.arange(embeddings.shape[1]))  # equal ones are side by side on it
    order = np.argsort(line, kind="stable")
    near = np.abs(np.diff(embeddings[order], axis=0)).max(1, initial=0) < ALIKE
    pairs = [
        (first, second)
        for a, b in zip(order[:-1][near], order[1:][near], strict=True)
        if (first := str(names[int(a)])) != (second := str(names[int(b)]))
    ]
    if pairs:
        others = f", and {len(pairs) - 1} more such pairs" if len(pairs) > 1 else ""
        first, second = pairs[0]
        warn_once(
            f"the text encoder cannot distinguish {quote(first)} from {quote(second)}{others}, so "
            "one of them is never predicted"
        )
