"""Which words of a corpus are its concepts: frequent nouns, and compounds of two words."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from captionseg.text.noun_extraction import Token

Pair = tuple[str, str]
"""Two words in a row: the first as written, of the second the lemma."""


@dataclass(frozen=True)
class ThingParams:
    """See VocabularyParams, which has the same fields."""

    minimum: int
    noun_share: float
    compound: float
    keep_rows: bool


@dataclass(frozen=True)
class Things:
    """What a corpus names.

    Attributes:
        concepts: the most frequent first.
        lemma: noun as written -> its lemma; one a word, so that every caption that counts for a
            concept names it.
    """

    concepts: tuple[str, ...]
    lemma: dict[str, str]


def find_things(captions: Iterable[Sequence[Token]], params: ThingParams, stop: set[str]) -> Things:
    """Find the concepts of tagged captions.

    Args:
        captions: the words of each.
        params: what makes a word a concept.
        stop: nouns that are none, nor part of one.
    """
    rows = list(captions)
    lemma = choose_lemmas(rows)
    compounds = find_compounds(rows, lemma, params, stop)
    nouns = [read_nouns(row, lemma, compounds) for row in rows]
    named = Counter(noun for row in nouns for noun in row)
    present = count_present(rows, lemma, compounds)
    usable = {
        noun
        for noun, count in named.items()
        if noun not in stop and len(noun) > 1 and count >= params.noun_share * present[noun]
    }
    chosen = {noun for noun in usable if named[noun] >= params.minimum}
    if chosen and params.keep_rows:
        lost = (row & usable for row in nouns if not row & chosen)
        chosen |= {min(row, key=lambda noun: (-named[noun], noun)) for row in lost if row}
    return Things(tuple(sorted(chosen, key=lambda noun: (-named[noun], noun))), lemma)


def choose_lemmas(rows: Sequence[Sequence[Token]]) -> dict[str, str]:
    """Noun as written -> the lemma that it has most often."""
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for token in (token for row in rows for token in row if token.is_noun):
        forms[token.word][token.lemma] += 1
    return {word: lemmas.most_common(1)[0][0] for word, lemmas in forms.items()}


def find_compounds(
    rows: Sequence[Sequence[Token]],
    lemma: Mapping[str, str],
    params: ThingParams,
    stop: Collection[str],
) -> set[Pair]:
    """Find nouns with a noun or a gerund before them that stand together far more often than by
    chance: swimming pool, tennis ball, but neither dog leap nor wearing sunglasses.

    Their normalised pointwise mutual information, ln(n N / (a b)) / -ln(n / N), is 1 if neither
    word occurs without the other and 0 if they are independent. n of N words are the pair, a are
    the first word, b are forms of the second (Bouma, "Normalized (Pointwise) Mutual Information in
    Collocation Extraction", 2009).
    """
    words = Counter(token.word for row in rows for token in row)
    heads = Counter(lemma[token.word] for row in rows for token in row if token.is_noun)
    pairs = Counter(pair for row in rows for _, pair in list_pairs(row, lemma))
    total = words.total()
    return {
        (first, head)
        for (first, head), count in pairs.items()
        if count >= params.minimum
        and not {first, head} & set(stop)
        and math.log(count * total / (words[first] * heads[head])) / math.log(total / count)
        >= params.compound
        and params.compound < 1
    }


def list_pairs(row: Sequence[Token], lemma: Mapping[str, str]) -> Iterator[tuple[int, Pair]]:
    """Yield what may be a compound, with the place of its first word."""
    for place, (first, head) in enumerate(itertools.pairwise(row)):
        if head.is_noun and head.adjoins and (first.is_noun or first.is_gerund):
            yield place, (first.word, lemma[head.word])


def read_nouns(
    row: Sequence[Token], lemma: Mapping[str, str], compounds: Collection[Pair]
) -> set[str]:
    """The nouns of a caption by lemma; a compound is one, and its words are none."""
    nouns, taken = set(), set[int]()
    for place, pair in list_pairs(row, lemma):
        if pair in compounds and place not in taken:
            nouns.add(" ".join(pair))
            taken |= {place, place + 1}
    rest = (token for place, token in enumerate(row) if place not in taken)
    return nouns | {lemma[token.word] for token in rest if token.is_noun}


def count_present(
    rows: Sequence[Sequence[Token]], lemma: Mapping[str, str], compounds: Collection[Pair]
) -> Counter[str]:
    """How many captions contain a concept, as a noun or as anything else."""
    count = Counter[str]()
    for row in rows:
        words = {lemma.get(token.word, token.word) for token in row}
        count.update(words | read_nouns(row, lemma, compounds))
    return count
