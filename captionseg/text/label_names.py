"""Labels with several names each: "person; people; man"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from captionseg.records import UserError
from captionseg.remarks import quote
from captionseg.text.typed_labels import MOST, clean, fold, is_sign

_SEMICOLON = re.compile("[;\uff1b\u061b]")
"""Semicolon: Latin, full-width, Arabic."""


@dataclass(frozen=True)
class LabelNames:
    """Labels and all of their names. A pixel has a label if one of its names fits best.

    Attributes:
        labels: [C] what each label is called: its first name.
        names: [N] all names, label by label.
        owner: int [N], the number of each name's label.
    """

    labels: tuple[str, ...]
    names: tuple[str, ...]
    owner: np.ndarray

    @staticmethod
    def read(labels: Iterable[str]) -> LabelNames:
        """Read labels, each one or several names with semicolons between.

        Raises:
            UserError: if they are no list, or a set, which has no order; if there is none, more
                than a mask can tell apart, one that is no text or holds no word, or a name of two
                labels.
        """
        # the order of a set, and so the numbers in the masks, would differ from run to run
        if isinstance(labels, str | set | frozenset) or not isinstance(labels, Iterable):
            raise UserError(f'labels: expected a list such as ["zebra", "grass"], found {labels!r}')
        labels = list(labels)
        if not labels:
            raise UserError('labels: give at least one, for example ["zebra", "grass"]')
        if len(labels) > MOST:
            raise UserError(f"labels: {len(labels)}; at most {MOST} are possible for a picture")
        first, names, owner = [], [], []
        for number, label in enumerate(labels):
            parts = split_names(label)
            first.append(parts[0])
            names += parts
            owner += [number] * len(parts)
        seen: dict[str, int] = {}
        for name, number in zip(names, owner, strict=True):
            if (other := seen.setdefault(fold(name), number)) != number:
                raise UserError(
                    f"labels: {quote(name)} is a name of {quote(first[other])} and again of "
                    f"{quote(first[number])}; remove one"
                )
        return LabelNames(tuple(first), tuple(names), np.array(owner, np.int16))


def split_names(label: str) -> list[str]:
    """Return the names of a label, each once, the first of them first.

    Raises:
        UserError: if it is no text, or holds no word.
    """
    if not isinstance(label, str):
        raise UserError(f"labels: expected words, found {quote(str(label))}")
    parts = [clean(part) for part in _SEMICOLON.split(label)]
    names = list({fold(part): part for part in reversed(parts) if part}.values())[::-1]
    if wrong := [name for name in names or [label] if is_sign(name)]:
        raise UserError(f"labels: {quote(wrong[0])} contains no word; remove it or use a word")
    return names
