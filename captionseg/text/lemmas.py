"""Plurals and singulars of English nouns."""

from __future__ import annotations

import functools
from importlib import resources

_COMPOUNDS = (
    "women",
    "children",
    "feet",
    "teeth",
    "mice",
    "geese",
    "people",
    "shelves",
    "wives",
    "knives",
    "wolves",
    "loaves",
    "scarves",
    "hooves",
    "thieves",
    "leaves",
    "calves",
    "halves",
)
"""Irregular plurals that end compounds: grandchildren, bookshelves."""


def read_packaged(name: str) -> list[str]:
    """Lines of a list in this package, without empty lines and # comments."""
    text = (resources.files("captionseg.text") / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@functools.cache
def read_words(name: str) -> frozenset[str]:
    """All words of a packaged list."""
    return frozenset(word for line in read_packaged(name) for word in line.split())


@functools.cache
def read_irregular() -> dict[str, tuple[str, ...]]:
    """plural -> its singulars, likeliest first."""
    rows = (line.split() for line in read_packaged("irregular_plurals.txt"))
    return {plural: tuple(singles) for plural, *singles in rows}


@functools.lru_cache(maxsize=65536)
def find_singulars(word: str) -> tuple[str, ...]:
    """The possible singulars of a word in lower case, likeliest first.

    A word that is no plural is its own singular. If the spelling allows several (leaves: leaf,
    leave), a caller with a list of nouns takes the one in it. Only endings of English plurals are
    removed: the singular of cards is not car, of skies not ski, of lens not len.
    """
    if word in read_words("singular_nouns.txt"):
        return (word,)
    if word in read_irregular():
        return read_irregular()[word]
    if word in read_words("plural_nouns.txt"):
        return word, word[:-1]
    if end := next((c for c in _COMPOUNDS if word.endswith(c)), None):
        head = word.removesuffix(end)
        return tuple(head + singular for singular in read_irregular()[end])
    if word.endswith("men") and len(word) > 3:
        return (f"{word[:-2]}an",)
    return find_regular(word) if word.endswith("s") and len(word) > 2 else (word,)


def find_regular(word: str) -> tuple[str, ...]:
    """As `find_singulars`, for a word with final -s that is in no list of exceptions."""
    short, stem, base = word[:-1], word[:-2], word[:-3]
    if word.endswith("ss"):
        return (word,)
    if word.endswith(("us", "is")):  # menus and taxis are listed; a rarer one comes second
        return (word, short) if len(word) > 4 else (word,)
    if short in read_words("silent_e_nouns.txt") or not word.endswith("es"):
        return (short,)
    if word.endswith("ies"):
        return (f"{base}y", short) if len(word) > 4 else (short,)
    if word.endswith(("xes", "ches", "shes", "sses", "tzes", "zzes")):
        return (stem, short)
    if word.endswith("oes"):
        return (stem, short)
    if word.endswith(("ses", "zes")) and len(word) > 4:
        latin = word.endswith("uses") and not word.endswith(("ouses", "auses"))
        return (stem, short) if latin else (short, stem)
    return (short,)


def lemmatize(word: str, guess: str = "") -> str:
    """The singular of a plural, in lower case.

    Args:
        word: as in `find_singulars`.
        guess: of another lemmatizer; it decides if several regular forms are possible.
    """
    forms = find_singulars(word)
    listed = word in read_irregular() or word in read_words("plural_nouns.txt")
    return guess if guess in forms and not listed else forms[0]


def find_plurals(word: str) -> list[str]:
    """The plurals of a word in lower case: forms that have it among their singulars."""
    listed = [plural for plural, singles in read_irregular().items() if word in singles]
    regular = [f"{word}s", f"{word}es", f"{word[:-1]}ies", f"{word.removesuffix('man')}men"]
    regular += [
        word.removesuffix(singular) + end
        for end in _COMPOUNDS
        for singular in read_irregular()[end]
        if word.endswith(singular)
    ]
    forms = dict.fromkeys([*listed, *regular])
    return [form for form in forms if form != word and word in find_singulars(form)]
