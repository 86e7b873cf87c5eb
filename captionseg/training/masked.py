"""Masks the entities of captions, for OVSegmentor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captionseg.storage.reading import read_json
from captionseg.supervision.columns import Supervision
from captionseg.text.entity_list import Masker


@dataclass(frozen=True)
class MaskedSentences:
    """The masked captions of the rows of a supervision.

    Attributes:
        texts: [N] captions, with a mask instead of each entity.
        target: [N, K] int64 numbers of the concepts behind the masks, in order, -1 pads.
    """

    texts: list[str]
    target: np.ndarray


def masked_captions(
    captions: Sequence[str], supervision: Supervision, vocabulary: Path, *, most: int | None = None
) -> MaskedSentences:
    """Mask the caption of every row.

    Args:
        captions: [N] captions.
        supervision: supervision of the same rows, whose concepts are masked.
        vocabulary: folder with lemma.json.
        most: maximum number of masks per caption, the first; None masks all.
    """
    number = {text: i for i, text in enumerate(supervision.vocabulary)}
    masker = Masker(number, read_json(vocabulary / "lemma.json"))
    rows = [
        masker(caption, texts, most=most)
        for caption, texts in zip(captions, supervision.to_texts(), strict=True)
    ]
    target = np.full(
        (len(rows), max((len(names) for _, names in rows), default=0) or 1), -1, np.int64
    )
    for row, (_, names) in enumerate(rows):
        target[row, : len(names)] = [number[name] for name in names]
    return MaskedSentences([text for text, _ in rows], target)
