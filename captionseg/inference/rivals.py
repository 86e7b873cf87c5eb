"""Chooses the words that leave pixels unlabelled which show none of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from captionseg.records import UserError
from captionseg.remarks import quote, warn_once

if TYPE_CHECKING:
    from captionseg.inference.predictor import Predictor

PYTHON = ("other=True", "other=False")
"""How a caller asks for such words, and against them; for messages."""


def choose_rivals(
    predictor: Predictor,
    names: Sequence[str],
    other: bool | None,
    *,
    single: bool,
    spelling: tuple[str, str] = PYTHON,
) -> list[str]:
    """Choose the words that leave pixels unlabelled.

    Args:
        predictor: the model.
        names: of the labels that are asked for.
        other: whether there are any; None has some if there is one label and no background.
        single: whether all names are of one label.
        spelling: see PYTHON.

    Raises:
        UserError: if the model's training knows no such word, and they are asked for.
    """
    alone = single and predictor.protocol.background.score is None
    if other is False or (other is None and not alone):
        return []
    rivals = predictor.find_rivals(names)
    if other and not rivals:
        raise UserError(
            f"{spelling[0]}: {predictor.labeller.loaded.folder} names no concept of its training "
            f"that is unlike all labels; omit {spelling[0]} and add labels for the rest of the "
            "picture"
        )
    if alone and rivals and other is None:
        warn_once(
            f"labels: {quote(names[0])} is the only one, so pixels that another word of the "
            f"model's training fits better stay unlabelled; {spelling[1]} labels every pixel"
        )
    return rivals
