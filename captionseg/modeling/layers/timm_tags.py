"""Tags of timm's weights: whether something is one, which a path names, and how pixels were
normalised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

PACKAGED = "packaged"
"""Stands for the packaged weights of tf_efficientnet_lite0."""
SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


def is_tag(weights: str) -> bool:
    """Return whether weights are named by a tag of timm, and not by the path of a file."""
    return weights not in ("", PACKAGED) and "/" not in weights and not weights.endswith(SUFFIXES)


def check_tag(name: str) -> None:
    """Check that timm knows the tag of weights in a name, if there is one.

    Raises:
        ValueError: if it does not, with the tags that it knows.
    """
    import timm

    model, _, tag = name.partition(".")
    tags = [n.partition(".")[2] for n in timm.list_pretrained(f"{model}.*")] if tag else []
    if tag and tag not in tags:
        raise ValueError(
            f"networks: timm has no weights {tag!r} of {model} (tags: {', '.join(tags) or 'none'})"
        )


def narrow_tags(tags: Sequence[str], weights: str) -> list[str]:
    """Return the tags that a tag or a path names, the longest of them alone; all if it names
    none.
    """
    named = [tag for tag in tags if tag == weights]
    named = named or [tag for tag in tags if re.search(rf"(?<![a-z0-9]){re.escape(tag)}", weights)]
    longest = max(map(len, named), default=0)
    return [tag for tag in named if len(tag) == longest] or [*tags]


def find_tag_pixels(name: str, path: str) -> dict[str, Any] | None:
    """Return timm's mean and deviation of the tag of a network that a path names; None if the path
    names none, or the name has a tag itself.
    """
    import timm

    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
    named = narrow_tags(tags, path)
    if "." in name or len(named) != 1:
        return None
    config = timm.get_pretrained_cfg(f"{name}.{named[0]}")
    return config.to_dict() if config else None
