"""Prompt templates, and class embeddings from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np

from captionseg.records import UserError

SIMPLE = ("a photo of a {}.",)
"""GroupViT's segmentation prompt, full stop included."""

SEGMENT = ("a photo of {}", "This is a photo of {}", "There is {} in the scene", "a photo of {} in the scene")
"""USE's four."""

TCL = ("itap of a {}.", "a bad photo of a {}.", "a origami {}.", "a photo of the large {}.", "a {} in a video game.",
       "art of the {}.", "a photo of the small {}.", "a photo of many {}.", "a photo of {}s.")  # fmt: skip
"""TCL's nine: seven of CLIP's, and two plurals."""

PromptSet = Literal["simple", "segment", "tcl", "imagenet"]
PROMPTS: tuple[PromptSet, ...] = get_args(PromptSet)


def templates(name: str) -> tuple[str, ...]:
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


def class_embeddings(names: Sequence[str], encode: Callable[[Sequence[str]], np.ndarray],
                     templates: Sequence[str] = SIMPLE) -> np.ndarray:
    """[C, D] float32: L2-normalised mean over templates of the embeddings of the prompted names.

    Args:
        names: [C] class names or concepts.
        encode: texts -> [T, D] embeddings.
        templates: each with one {}.
    """
    texts = [template.format(name) for name in names for template in templates]
    mean = encode(texts).reshape(len(names), len(templates), -1).mean(1)
    return (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)).astype(np.float32)
