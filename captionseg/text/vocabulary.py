"""The concepts of a corpus, and which captions name them, word for word."""

from __future__ import annotations

import array
import functools
import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from captionseg.records import UserError
from captionseg.text.lemmas import find_singulars, read_packaged
from captionseg.text.words import Word, adjoin, split, tokens
from captionseg.typed import Count, Share

__all__ = [
    "Match",
    "Vocabulary",
    "VocabularyParams",
    "find_plurals",
    "read_default_stop",
    "read_packaged",
    "tokens",
]


@dataclass(frozen=True)
class VocabularyParams:
    """Fields of `curate.vocabulary`.

    Attributes:
        minimum: how many captions must name a concept.
        size: at most so many, the most frequent.
        noun_share: a word is a concept if at least this share of the captions that contain it have
            it as a noun: of "red", "run" and "play" they do not.
        compound: two words in a row are one concept (swimming pool) if their normalised pointwise
            mutual information is at least this; 1 takes no compound.
        keep_rows: of a caption without a frequent noun, the most frequent of its rare ones is a
            concept too, so that the row is not lost.
        visible: a noun whose captions pictures do not tell from others is no concept: area under
            the ROC curve that it needs, see `captionseg.curation.visibility`; 0 takes every noun.
        stop: file with a word a line that is no concept; None takes captionseg/text/stop_nouns.txt.
        file: fixed list of concepts, one a line, in place of the corpus's nouns.
        spacy_model: path or name; None takes the pinned package.
    """

    minimum: Count = 10
    size: Count = 20_000
    noun_share: Share = 0.5
    compound: Share = 0.5
    keep_rows: bool = True
    visible: Share = 0.65
    stop: str | None = None
    file: str | None = None
    spacy_model: str | None = None


class Match(NamedTuple):
    """Words of a caption, `first` to `last` inclusive, that name concept `number`."""

    first: int
    last: int
    number: int


@dataclass(frozen=True)
class Vocabulary:
    """Concepts, most frequent first, and the words that are their forms.

    `read` alone decides which concepts a caption names, and where, so the counts of the vocabulary,
    the words of a caption and its masked entities agree.

    Attributes:
        concepts: as they are written.
        lemma: plural -> singular; None takes the plurals of `captionseg.text.lemmas`.
    """

    concepts: tuple[str, ...]
    lemma: Mapping[str, str] | None

    @functools.cached_property
    def column(self) -> dict[tuple[str, ...], int]:
        """Words of a concept -> its number; of concepts with the same words, the first."""
        column: dict[tuple[str, ...], int] = {}
        for number, concept in enumerate(self.concepts):
            column.setdefault(tuple(tokens(concept)), number)
        column.pop((), None)  # of signs alone
        return column

    @functools.cached_property
    def longest(self) -> dict[str, int]:
        """First word of concepts -> number of words of the longest one."""
        longest: dict[str, int] = {}
        for concept in self.column:
            longest[concept[0]] = max(len(concept), longest.get(concept[0], 0))
        return longest

    @functools.cached_property
    def _form_cache(self) -> dict[str, tuple[tuple[str, ...], int]]:
        return {}  # words so far -> see `forms`

    def forms(self, word: str) -> tuple[tuple[str, ...], int]:
        """A word and its singulars, and the length of the longest concept that begins with one."""
        if (cached := self._form_cache.get(word)) is None:
            singulars = (
                find_singulars(word) if self.lemma is None else (self.lemma.get(word, word),)
            )
            forms = tuple(dict.fromkeys((word, *singulars)))
            cached = self._form_cache[word] = (
                forms,
                max(self.longest.get(form, 0) for form in forms),
            )
        return cached

    def read(self, caption: str) -> tuple[list[Word], list[Match]]:
        """Find the words of a caption, and the concepts that it names, in order.

        Words match as a whole ("car" is not in "carpet"). The words of a longer concept must be
        consecutive, with spaces or hyphens between. Of overlapping concepts the longest counts,
        then the first: a hot dog is no dog.
        """
        words = split(caption)
        matches = [
            match
            for start, word in enumerate(words)
            if self.forms(word.key)[1]
            for match in self._starting(caption, words, start)
        ]
        if any(m.first != m.last for m in matches):
            free, selected = np.ones(len(words), bool), []
            for m in sorted(matches, key=lambda m: (m.first - m.last, m.first)):
                if free[m.first : m.last + 1].all():
                    free[m.first : m.last + 1] = False
                    selected.append(m)
            matches = sorted(selected)
        return words, matches

    def _starting(self, caption: str, words: Sequence[Word], start: int) -> Iterator[Match]:
        """Yield the matches that begin with a word, one of each length."""
        forms: list[tuple[str, ...]] = []
        for last in range(start, min(start + self.forms(words[start].key)[1], len(words))):
            if last > start and not adjoin(caption, words[last - 1], words[last]):
                return
            forms.append(self.forms(words[last].key)[0])
            numbers = (self.column.get(form, -1) for form in itertools.product(*forms))
            if (number := next((n for n in numbers if n >= 0), -1)) >= 0:
                yield Match(start, last, number)

    def match_captions(self, captions: Iterable[str]) -> csr_array:
        """Match N captions: [N, C] bool, which concepts each names, see `read`."""
        columns, starts = array.array("i"), array.array("i", [0])
        for caption in captions:
            columns.extend(sorted({match.number for match in self.read(caption)[1]}))
            starts.append(len(columns))
        ones = np.ones(len(columns), bool)
        shape = len(starts) - 1, len(self.concepts)
        return csr_array((ones, np.array(columns), np.array(starts)), shape=shape)

    def words(self, caption: str) -> list[tuple[str, int]]:
        """The words of a caption as written, each with the number of its concept, -1 for none; see
        `read`.
        """
        words, matches = self.read(caption)
        number = [-1] * len(words)
        for match in matches:
            number[match.first : match.last + 1] = [match.number] * (match.last + 1 - match.first)
        return [(caption[word.start : word.end], n) for word, n in zip(words, number, strict=True)]


def find_plurals(concepts: Iterable[str], captions: Iterable[str]) -> dict[str, str]:
    """Plurals in the captions of words of the concepts: plural -> singular."""
    single = {word for concept in concepts for word in tokens(concept)}
    seen = {word for caption in captions for word in tokens(caption)}
    candidates = (
        (word, next((s for s in find_singulars(word) if s in single), word)) for word in seen
    )
    return {word: singular for word, singular in candidates if singular != word}


def read_words(path: str, where: str) -> list[str]:
    """Lines of a file in lower case and composed form, without empty lines and # comments.

    Args:
        path: of the file.
        where: the param that names it, for messages.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: {path} cannot be read: {error}") from None
    lines = [" ".join(unicodedata.normalize("NFC", line).lower().split()) for line in lines]
    return [line for line in lines if line and not line.startswith("#")]


def read_default_stop() -> list[str]:
    """The packaged list of nouns that name nothing visible, such as "picture"."""
    return read_packaged("stop_nouns.txt")
