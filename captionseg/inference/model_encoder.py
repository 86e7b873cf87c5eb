"""Finds the frozen encoder of a saved model, and checks that the model was trained on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captionseg.encoders.dense_head import DenseHead
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.reduction import FILE as REDUCTION
from captionseg.records import UserError, one_line


def find_encoder(folder: Path) -> Path:
    """Return the folder of a model's frozen encoder: in its own folder, or for a seed in that of
    the recipe.
    """
    own, recipe = folder / "encoder", folder.absolute().parent
    if not own.exists() and recipe.name == "seeds" and (recipe.parent / "encoder").exists():
        return (
            folder.parent.parent / "encoder" if len(folder.parts) > 2 else recipe.parent / "encoder"
        )
    return own


def check_encoder(model: Path, features: Path) -> None:
    """Refuse features of an encoder other than the model's, which could have the same width.

    Args:
        model: its folder, with or without an encoder.
        features: folder of the encoder that made the features.

    Raises:
        UserError: naming both encoders.
    """
    own = find_encoder(model)
    if own.is_dir() and features.is_dir() and describe_encoder(own) != describe_encoder(features):
        raise UserError(
            f"{model}: its encoder ({own}) differs from that of the features ({features}); use a "
            "model that was trained on them"
        )


def describe_encoder(folder: Path) -> tuple[object, bytes]:
    """Return what determines an encoder's features: its params without the batch size, and its
    reduction.

    Raises:
        UserError: if encoder.json cannot be read.
    """
    try:
        config = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        description = (
            config["encoder"],
            {key: value for key, value in config["params"].items() if key != "batch"},
        )
        return description, (folder / REDUCTION).read_bytes() if (
            folder / REDUCTION
        ).exists() else b""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/encoder.json: cannot be read ({one_line(error)})") from None


def check_head(model: Any, frozen: Callable[[], Encoder], folder: Path) -> None:
    """Refuse a model whose copy of the encoder's last block has a different activation.

    Args:
        model: a Segmenter.
        frozen: returns the encoder; only called if the model has such a copy.
        folder: folder of the model.

    Raises:
        UserError: if the activations differ.
    """
    copies = [m.config for m in model.modules() if isinstance(m, DenseHead) and m.config.hidden]
    head = frozen().head if copies else None
    if head is None or not head.config.hidden:
        return
    for copy in copies:
        if head.config.quick != copy.quick:
            names = ["QuickGELU" if quick else "GELU" for quick in (copy.quick, head.config.quick)]
            raise UserError(
                f"{folder}: was trained with {names[0]} in the encoder's last block, but its "
                f"encoder has {names[1]}; train it again"
            )
