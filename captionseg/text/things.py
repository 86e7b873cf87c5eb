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
    names = name_compounds(rows, lemma, find_compounds(rows, lemma, params, stop), params.minimum)
    read = [read_nouns(row, lemma, names) for row in rows]
    nouns = [found for found, _ in read]
    named = Counter(noun for row in nouns for noun in row)
    present = Counter(word for found, others in read for word in found | others)
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


def name_compounds(
    rows: Sequence[Sequence[Token]],
    lemma: Mapping[str, str],
    compounds: Collection[Pair],
    minimum: int,
) -> dict[Pair, str]:
    """What each compound is called: both words, beside a concept of the last word alone; and only
    the last word if that is hardly ever said alone. Where all penguins are emperor penguins, they
    are penguins.
    """
    both = {pair: " ".join(pair) for pair in compounds}
    alone = Counter(noun for row in rows for noun in read_nouns(row, lemma, both)[0])
    return {pair: name if alone[pair[1]] >= minimum else pair[1] for pair, name in both.items()}


def read_nouns(
    row: Sequence[Token], lemma: Mapping[str, str], compounds: Mapping[Pair, str]
) -> tuple[set[str], set[str]]:
    """The nouns of a caption by lemma, where a compound is one noun, and its other words."""
    nouns, taken = set[str](), set[int]()
    for place, pair in list_pairs(row, lemma):
        if pair in compounds and place not in taken:
            nouns.add(compounds[pair])
            taken |= {place, place + 1}
    rest = [token for place, token in enumerate(row) if place not in taken]
    nouns |= {lemma[token.word] for token in rest if token.is_noun}
    return nouns, {lemma.get(token.word, token.word) for token in rest} - nouns
