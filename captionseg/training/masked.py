"""Masks the entities of captions, for OVSegmentor."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captionseg.text.entity_list import Masker


@dataclass(frozen=True)
class MaskedSentences:
    """Masked captions of n pairs.

    Attributes:
        texts: [n] captions, with a mask instead of each entity.
        count: [n] number of masks.
        target: numbers of the concepts behind the masks, in order, of all captions end to end.
    """

    texts: list[str]
    count: np.ndarray
    target: np.ndarray


class CaptionMasker:
    """Masks the concepts that pairs have.

    Args:
        vocabulary: [C] all concepts.
        lemma: see Masker.
        most: maximum number of masks per caption, the first; None masks all.
    """

    def __init__(
        self, vocabulary: Sequence[str], lemma: Mapping[str, str], *, most: int | None = None
    ) -> None:
        self.names, self.most = np.asarray(vocabulary, object), most
        self.number = {text: i for i, text in enumerate(vocabulary)}
        self.masker = Masker(self.number, lemma)

    def __call__(
        self, captions: Sequence[str], count: np.ndarray, concept: np.ndarray
    ) -> MaskedSentences:
        """Mask the captions of n pairs.

        Args:
            captions: [n].
            count: [n] number of concepts to mask of each.
            concept: their numbers, highest score first, of all pairs end to end.
        """
        names, ends = self.names[concept].tolist(), [0, *count.cumsum().tolist()]
        rows = [
            self.masker(caption, names[start:end], most=self.most)
            for caption, (start, end) in zip(captions, itertools.pairwise(ends), strict=True)
        ]
        target = [self.number[name] for _, found in rows for name in found]
        return MaskedSentences(
            [text for text, _ in rows],
            np.array([len(found) for _, found in rows], np.int64),
            np.array(target, np.int32),
        )
