"""Entities of OVSegmentor: the published list with its synonyms, and masking them in captions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from captionseg.text.lemmas import find_plurals, read_packaged
from captionseg.text.vocabulary import Vocabulary
from captionseg.text.words import tokens

PUBLISHED = tuple(read_packaged("published_entities.txt"))
"""The 100 frequent entities of CC12M, in lower case ("TV" and "tv" are one here)."""

PERSONS = PUBLISHED[1 : PUBLISHED.index("car")]
SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(PERSONS, "people"),
    "airplane": "aeroplane",
    "motorbike": "motorcycle",
    "bike": "bicycle",
    "desk": "table",
    "couch": "sofa",
    "building": "house",
    "hotel": "house",
    "t-shirt": "shirt",
    "handbag": "bag",
}
"""Entity -> its canonical entity."""

MASK = "[MASK]"


def merge_synonym(entity: str) -> str:
    """The canonical entity."""
    return SYNONYMS.get(entity, entity)


class Masker:
    """Replaces entities of captions by MASK.

    What is masked is what a Vocabulary of the same words finds in the caption (`Vocabulary.read`),
    with the 's after it; everything between stays as it is.

    Args:
        words: all that may ever be masked, of one word or several; synonyms of them are added.
        lemma: of the Vocabulary that the words are of; without it, the plurals of
            `captionseg.text.lemmas`.
    """

    def __init__(self, words: Collection[str], lemma: Mapping[str, str] | None = None) -> None:
        entities = dict.fromkeys(words)
        added = [
            word
            for word, synonym_of in SYNONYMS.items()
            if synonym_of in entities and word not in entities
        ]
        if lemma is not None:  # that knows the corpus's words, so none of the synonyms'
            last_words = {tokens(word)[-1] for word in added}
            plurals = {plural: end for end in sorted(last_words) for plural in find_plurals(end)}
            lemma = plurals | dict(lemma)
        self.vocabulary = Vocabulary((*entities, *added), lemma)
        self.words = frozenset(self.vocabulary.concepts)

    def __call__(
        self, caption: str, entities: Collection[str] | None = None, *, most: int | None = None
    ) -> tuple[str, list[str]]:
        """The masked caption, and what each MASK stands for, in order: one of `entities`, or of the
        words.

        Args:
            caption: as written.
            entities: those to mask here, a synonym of one too ("man" for "people"); None takes all
                words.
            most: so many at most, the first.
        """
        chosen = self.words if entities is None else entities
        words, matches = self.vocabulary.read(caption)
        masked: list[str] = []
        pieces, end = [], 0
        for match in matches:
            concept = self.vocabulary.concepts[match.number]
            name = next((n for n in (concept, merge_synonym(concept)) if n in chosen), None)
            if name is None or (most is not None and len(masked) >= most):
                continue
            masked.append(name)
            pieces += [caption[end : words[match.first].start], MASK]
            end = words[match.last].after
        return "".join([*pieces, caption[end:]]), masked
