"""Which words of a corpus are its concepts: frequent nouns, and compounds of two words."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionseg.text.noun_extraction import Token
from captionseg.text.tagged_captions import Rows

MapRows = Callable[[Callable[[Rows], Any]], Iterable[Any]]
"""Calls a function for some captions after the others; see `TaggedCaptions.map`."""

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


@dataclass
class WordCounts:
    """How often words occur in tagged captions.

    Attributes:
        words: as written.
        forms: noun as written -> its lemmas.
        pairs: two words in a row that may be a compound, as written.
    """

    words: Counter[str]
    forms: dict[str, Counter[str]]
    pairs: Counter[Pair]


def find_things(map_rows: MapRows, params: ThingParams, stop: set[str]) -> Things:
    """Find the concepts of tagged captions, in up to four passes over them.

    Args:
        map_rows: calls a function for all parts of the captions, in order.
        params: what makes a word a concept.
        stop: nouns that are none, nor part of one.
    """
    counts = merge_counts(map_rows(count_words))
    lemma = choose_lemmas(counts)
    compounds = find_compounds(counts, lemma, params, stop)
    names = name_compounds(map_rows, lemma, compounds, params.minimum)
    named, present = add_nouns(map_rows, lemma, names)
    usable = {
        noun
        for noun, count in named.items()
        if noun not in stop and len(noun) > 1 and count >= params.noun_share * present[noun]
    }
    chosen = {noun for noun in usable if named[noun] >= params.minimum}
    if chosen and params.keep_rows:
        frequency = {noun: named[noun] for noun in usable}
        lost = map_rows(functools.partial(find_lost, lemma, names, chosen, frequency))
        chosen = chosen.union(*lost)
    return Things(tuple(sorted(chosen, key=lambda noun: (-named[noun], noun))), lemma)


def count_words(rows: Rows) -> WordCounts:
    """Count words, lemmas and pairs of words."""
    counts = WordCounts(Counter(), defaultdict(Counter), Counter())
    for tokens, times in rows:
        for token in tokens:
            counts.words[token.word] += times
            if token.is_noun:
                counts.forms[token.word][token.lemma] += times
        for _, (first, head) in list_adjoining(tokens):
            counts.pairs[first.word, head.word] += times
    return counts


def merge_counts(parts: Iterable[WordCounts]) -> WordCounts:
    """Add up the counts of consecutive parts."""
    total = WordCounts(Counter(), defaultdict(Counter), Counter())
    for part in parts:
        total.words.update(part.words)
        total.pairs.update(part.pairs)
        for word, lemmas in part.forms.items():
            total.forms[word].update(lemmas)
    return total


def choose_lemmas(counts: WordCounts) -> dict[str, str]:
    """Noun as written -> the lemma that it has most often; of equally frequent ones the first."""
    return {word: lemmas.most_common(1)[0][0] for word, lemmas in counts.forms.items()}


def find_compounds(
    counts: WordCounts, lemma: Mapping[str, str], params: ThingParams, stop: Collection[str]
) -> set[Pair]:
    """Find nouns with a noun or a gerund before them that stand together far more often than by
    chance: swimming pool, tennis ball, but neither dog leap nor wearing sunglasses.

    Their normalised pointwise mutual information, ln(n N / (a b)) / -ln(n / N), is 1 if neither
    word occurs without the other and 0 if they are independent. n of N words are the pair, a are
    the first word, b are forms of the second (Bouma, "Normalized (Pointwise) Mutual Information in
    Collocation Extraction", 2009).
    """
    heads, pairs = Counter[str](), Counter[Pair]()
    for word, lemmas in counts.forms.items():
        heads[lemma[word]] += lemmas.total()
    for (first, head), count in counts.pairs.items():
        pairs[first, lemma[head]] += count
    total = counts.words.total()
    return {
        (first, head)
        for (first, head), count in pairs.items()
        if count >= params.minimum
        and not {first, head} & set(stop)
        and math.log(count * total / (counts.words[first] * heads[head])) / math.log(total / count)
        >= params.compound
        and params.compound < 1
    }


def list_adjoining(row: Sequence[Token]) -> Iterator[tuple[int, tuple[Token, Token]]]:
    """Yield two words that may be a compound, with the place of the first."""
    for place, (first, head) in enumerate(itertools.pairwise(row)):
        if head.is_noun and head.adjoins and (first.is_noun or first.is_gerund):
            yield place, (first, head)


def name_compounds(
    map_rows: MapRows, lemma: Mapping[str, str], compounds: Collection[Pair], minimum: int
) -> dict[Pair, str]:
    """What each compound is called: both words, beside a concept of the last word alone; and only
    the last word if that is hardly ever said alone. Where all penguins are emperor penguins, they
    are penguins.
    """
    if not compounds:
        return {}
    both = {pair: " ".join(pair) for pair in compounds}
    alone, _ = add_nouns(map_rows, lemma, both)
    return {pair: name if alone[pair[1]] >= minimum else pair[1] for pair, name in both.items()}


def add_nouns(
    map_rows: MapRows, lemma: Mapping[str, str], compounds: Mapping[Pair, str]
) -> tuple[Counter[str], Counter[str]]:
    """`count_nouns` of all captions."""
    named, present = Counter[str](), Counter[str]()
    for part in map_rows(functools.partial(count_nouns, lemma, compounds)):
        named.update(part[0])
        present.update(part[1])
    return named, present


def count_nouns(
    lemma: Mapping[str, str], compounds: Mapping[Pair, str], rows: Rows
) -> tuple[Counter[str], Counter[str]]:
    """How many captions have a word as a noun, and how many have it at all."""
    named, present = Counter[str](), Counter[str]()
    for tokens, times in rows:
        nouns, others = read_nouns(tokens, lemma, compounds)
        for noun in nouns:
            named[noun] += times
        for word in nouns | others:
            present[word] += times
    return named, present


def find_lost(
    lemma: Mapping[str, str],
    compounds: Mapping[Pair, str],
    chosen: Collection[str],
    usable: Mapping[str, int],
    rows: Rows,
) -> set[str]:
    """The most frequent usable noun of each caption that has none of those chosen.

    Args:
        lemma: see `Things`.
        compounds: see `read_nouns`.
        chosen: concepts so far.
        usable: noun -> number of captions.
        rows: captions.
    """
    found = set[str]()
    for tokens, _ in rows:
        nouns, _ = read_nouns(tokens, lemma, compounds)
        if nouns.isdisjoint(chosen) and (rare := nouns & usable.keys()):
            found.add(min(rare, key=lambda noun: (-usable[noun], noun)))
    return found


def read_nouns(
    row: Sequence[Token], lemma: Mapping[str, str], compounds: Mapping[Pair, str]
) -> tuple[set[str], set[str]]:
    """The nouns of a caption by lemma, where a compound is one noun, and its other words."""
    nouns, taken = set[str](), set[int]()
    for place, (first, head) in list_adjoining(row):
        pair = first.word, lemma[head.word]
        if pair in compounds and place not in taken:
            nouns.add(compounds[pair])
            taken |= {place, place + 1}
    rest = [token for place, token in enumerate(row) if place not in taken]
    nouns |= {lemma[token.word] for token in rest if token.is_noun}
    return nouns, {lemma.get(token.word, token.word) for token in rest} - nouns
