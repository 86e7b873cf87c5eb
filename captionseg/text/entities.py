"""Entities of OVSegmentor: the published list with its synonyms, and captions with their entities masked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from captionseg.text.vocabulary import packaged, plurals

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


def mask(caption: str, entities: Collection[str], lemma: Mapping[str, str] | None = None) -> tuple[str, list[str]]:
    """The caption with every entity replaced by MASK, and the canonical entities that were found, each once.

    Words are compared whole, whatever their case, in singular and plural; everything between them stays as it is.

    Args:
        caption: as written.
        entities: single words in lower case.
        lemma: word of the corpus -> singular, as a Vocabulary has it; regular plurals are known without it.
    """
    known, found = set(entities), []
    regular = plurals(known, [caption])

    def change(match: re.Match[str]) -> str:
        word = match.group().lower()
        stem = next((w for w in (word, (lemma or {}).get(word), regular.get(word), word.removesuffix("'s"))
                     if w in known), None)  # fmt: skip
        if stem is None:
            return match.group()
        found.append(merged(stem))
        return MASK

    return _WORD.sub(change, caption), list(dict.fromkeys(found))
