"""Captions with their entities masked: OVSegmentor's questions, and what is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captionseg.modeling.segmenter import Masking
from captionseg.records import Supervision
from captionseg.storage.reading import read_json
from captionseg.text.entities import Masker


@dataclass(frozen=True)
class Masked:
    """The masked captions of the rows of a supervision.

    Attributes:
        texts: [N] with one mask in place of each entity.
        target: [N, K] int64 numbers of the concepts behind the masks, in order, -1 pads.
    """

    texts: list[str]
    target: np.ndarray


def masked_captions(
    captions: Mapping[str, str],
    vocabulary: Path,
    supervision: Supervision,
    nouns: Supervision,
    masking: Masking,
    number: Mapping[str, int],
) -> Masked:
    """Mask the caption of every row.

    Args:
        captions: uid -> caption.
        vocabulary: folder with lemma.json.
        supervision: whose concepts are masked where the caption names them.
        nouns: of the same rows; all of its concepts are masked for `nouns`.
        masking: all of them, the first one alone, or the caption's nouns.
        number: concept -> its number in the vocabulary.
    """
    masker = Masker(number, read_json(vocabulary / "lemma.json"))
    source = nouns if masking == "nouns" else supervision
    concepts = dict(zip(source.uid, source.concepts, strict=True))
    most = 1 if masking == "one" else None
    rows = [
        masker(captions[uid], [c.text for c in concepts.get(uid, ())], most=most)
        for uid in supervision.uid
    ]
    target = np.full(
        (len(rows), max((len(names) for _, names in rows), default=0) or 1), -1, np.int64
    )
    for row, (_, names) in enumerate(rows):
        target[row, : len(names)] = [number[name] for name in names]
    return Masked([text for text, _ in rows], target)
