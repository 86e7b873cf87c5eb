"""Entities of OVSegmentor: the published list with its synonyms, and captions with their entities masked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from captionseg.text.vocabulary import packaged, singulars

PUBLISHED = tuple(packaged("published_entities.txt"))
"""The 100 frequent entities of CC12M, in lower case ("TV" and "tv" are one here)."""

PERSONS = PUBLISHED[1 : PUBLISHED.index("car")]
SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(PERSONS, "people"), "airplane": "aeroplane", "motorbike": "motorcycle", "bike": "bicycle",
    "desk": "table", "couch": "sofa", "building": "house", "hotel": "house", "t-shirt": "shirt", "handbag": "bag",
}  # fmt: skip
"""Entity -> the one that it is counted as."""

MASK = "[MASK]"
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")


def merged(entity: str) -> str:
    """The canonical entity."""
    return SYNONYMS.get(entity, entity)


class Masker:
    """Replaces entities of captions by MASK.

    Words are compared whole, whatever their case, in singular and plural; everything between them stays as it is.

    Args:
        words: single words in lower case, all that may ever be masked; synonyms of one of them are added.
        lemma: word of the corpus -> singular, as a Vocabulary has it; regular plurals are known without it.
    """

    def __init__(self, words: Collection[str], lemma: Mapping[str, str] | None = None) -> None:
        known = frozenset(words)
        self.words, self.lemma = known | {word for word, one in SYNONYMS.items() if one in known}, lemma or {}
        self.stems: dict[str, str | None] = {}  # of the words seen so far

    def __call__(self, caption: str, entities: Collection[str] | None = None, *,
                 most: int | None = None) -> tuple[str, list[str]]:  # fmt: skip
        """The masked caption, and what each MASK stands for, in order: one of `entities`, or of the words.

        Args:
            caption: as written.
            entities: those to mask here, a synonym of one too ("man" for "people"); None takes all words.
            most: so many at most, the first.
        """
        chosen = self.words if entities is None else entities
        found: list[str] = []

        def change(match: re.Match[str]) -> str:
            stem = self.stem(match.group().lower())
            name = next((n for n in (stem, merged(stem)) if n in chosen), None) if stem else None
            if name is None or (most is not None and len(found) >= most):
                return match.group()
            found.append(name)
            return MASK

        return _WORD.sub(change, caption), found

    def stem(self, word: str) -> str | None:
        """The one of the words that a word in lower case is a form of."""
        if word not in self.stems:
            forms = (word, self.lemma.get(word), *singulars(word), word.removesuffix("'s"))
            self.stems[word] = next((w for w in forms if w in self.words), None)
        return self.stems[word]
