"""Which concepts there are, taken from the corpus itself, and which caption names which: word for word."""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from captionseg.records import UserError
from captionseg.text.nouns import nouns
from captionseg.typed import Count

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


@dataclass(frozen=True)
class VocabularyParams:
    """Fields of `curate.vocabulary`.

    Attributes:
        minimum: how many captions must name a concept.
        size: at most so many, the most frequent.
        stop: file with a word a line that is no concept; None takes captionseg/text/stop_nouns.txt.
        file: fixed list of concepts, one a line, in place of the corpus's nouns.
        spacy_model: path or name; None takes the pinned package.
    """

    minimum: Count = 10
    size: Count = 20_000
    stop: str | None = None
    file: str | None = None
    spacy_model: str | None = None


@dataclass(frozen=True)
class Vocabulary:
    """Concepts, most frequent first, and the singular of each plural that the corpus holds."""

    concepts: tuple[str, ...]
    lemma: dict[str, str]

    @functools.cached_property
    def column(self) -> dict[tuple[str, ...], int]:
        """The words of a concept -> its number."""
        return {tuple(tokens(c)): i for i, c in enumerate(self.concepts)}

    def named(self, captions: Sequence[str]) -> csr_array:
        """[N, C] bool: which captions name which concepts, by whole words ("car" is not in "carpet").

        A concept of several words must stand in the caption as those words in a row.
        """
        column, longest = self.column, max((len(c) for c in self.column), default=0)
        rows, columns = [], []
        for row, caption in enumerate(captions):
            words = [self.lemma.get(w, w) for w in tokens(caption)]
            found = {column[gram] for n in range(1, longest + 1) for start in range(len(words) - n + 1)
                     if (gram := tuple(words[start : start + n])) in column}
            rows += [row] * len(found)
            columns += sorted(found)
        ones = np.ones(len(rows), bool)
        return csr_array((ones, (rows, columns)), shape=(len(captions), len(self.concepts)))

    def words(self, caption: str) -> list[tuple[str, int]]:
        """The caption word by word, as written, with the number of the concept that each belongs to, -1 for none.

        What is between words is in none of them. Of concepts that overlap the longest counts, then the first.
        """
        column, written = self.column, [str(w) for w in _WORD.findall(caption)]
        lower: list[str] = [w.lower() for w in written]
        words: list[str] = [self.lemma.get(w, w) for w in lower]
        found, longest = np.full(len(words), -1), max((len(c) for c in column), default=0)
        for n in range(longest, 0, -1):
            for start in range(len(words) - n + 1):
                part = slice(start, start + n)
                if (number := column.get(tuple(words[part]), -1)) >= 0 and (found[part] < 0).all():
                    found[part] = number
        return list(zip(written, found.tolist(), strict=True))


def tokens(caption: str) -> list[str]:
    """Lower-case words; apostrophes inside a word stay."""
    return _WORD.findall(caption.lower())


def build(captions: Sequence[str], params: VocabularyParams) -> Vocabulary:
    """The corpus's frequent nouns, by lemma, without stop words; or the list of a file.

    Raises:
        UserError: if nothing is left, or the file cannot be read.
    """
    if params.file is not None:
        concepts = read_words(params.file, "curate.vocabulary.file")
        if not concepts:
            raise UserError(f"curate.vocabulary.file: {params.file} holds no concept; write one a line")
        return Vocabulary(tuple(dict.fromkeys(concepts)), plurals(concepts, captions))
    stop = set(read_words(params.stop, "curate.vocabulary.stop") if params.stop else default_stop())
    count: Counter[str] = Counter()
    forms: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in nouns(captions, params.spacy_model):
        count.update({lemma for _, lemma in row})
        for word, lemma in row:
            forms[word][lemma] += 1
    frequent = [c for c, n in sorted(count.items(), key=lambda item: (-item[1], item[0]))
                if n >= params.minimum and c not in stop and len(c) > 1][: params.size]
    if not frequent:
        raise UserError(f"curate.vocabulary: no noun stands in {params.minimum} of {len(captions)} captions; "
                        "lower curate.vocabulary.minimum or give a file")
    lemma = {word: lemmas.most_common(1)[0][0] for word, lemmas in forms.items()}
    return Vocabulary(tuple(frequent), lemma)


def plurals(concepts: Iterable[str], captions: Sequence[str]) -> dict[str, str]:
    """Words of the captions that are a regular plural of a word of the concepts -> that word."""
    single = {word for concept in concepts for word in tokens(concept)}
    seen = {word for caption in captions for word in tokens(caption)} - single
    guess = {word: next((s for s in singulars(word) if s in single), None) for word in seen}
    return {word: s for word, s in guess.items() if s}


def singulars(word: str) -> tuple[str, ...]:
    """What a word would be the regular plural of: dogs, buses, babies."""
    return (word[:-1], word[:-2], word[:-3] + "y") if word[-1:] == "s" else ()


def read_words(path: str, where: str) -> list[str]:
    """Lower-case lines of a file without blanks and # comments."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: {path} cannot be read: {error}") from None
    return [line.strip().lower() for line in lines if line.strip() and not line.startswith("#")]


def default_stop() -> list[str]:
    """The packaged list of nouns that name no visible thing of their own."""
    return packaged("stop_nouns.txt")


def packaged(name: str) -> list[str]:
    """Lines of a list that lies beside this file, without blanks and # comments."""
    text = (resources.files("captionseg.text") / name).read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]
