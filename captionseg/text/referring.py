"""Referring expressions: noun chunks with their dependents in the parse (USE, section 3.2, after
Kosmos-2).

"an apple at the side of the rabbit" holds the phrases "an apple", "the side", "the rabbit"; the
first two are also the heads of longer expressions. Phrase and expression are both kept, with their
spans in the caption, which a grounder that reads whole captions needs
(`captionseg.grounding.grounder.Query`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captionseg.records import UserError
from captionseg.text.noun_extraction import cut_captions, load

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

# children of a chunk's root that are no part of its expression: what is coordinated with it, and
# what has no role
APART = frozenset({"cc", "conj", "preconj", "punct", "dep"})


@dataclass(frozen=True)
class Mention:
    """One occurrence in a caption, in characters, the end excluded.

    Attributes:
        phrase: (start, end) of the noun chunk.
        expression: (start, end) of its expression, which contains it.
    """

    phrase: tuple[int, int]
    expression: tuple[int, int]


@dataclass(frozen=True)
class Reference:
    """A phrase of a caption with its expression.

    Attributes:
        phrase: the noun chunk, as first written.
        expression: the phrase with what depends on it, as first written; often the phrase itself.
        mentions: all occurrences, in order.
    """

    phrase: str
    expression: str
    mentions: tuple[Mention, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Phrase and expression; once where they are the same."""
        return tuple(dict.fromkeys((self.phrase, self.expression)))


def find_references(doc: Doc, *, skip: Collection[str] = ()) -> list[Reference]:
    """The references of a parsed caption, in order, without pronouns; equal pairs (in lower case)
    are one.

    Args:
        doc: with parts of speech and dependencies.
        skip: chunks whose root is one of these words, in lower case, are left out: "side", "photo";
            USE keeps them.

    Raises:
        UserError: if the doc lacks what noun chunks are made of.
    """
    spellings: dict[tuple[str, str], tuple[str, str]] = {}
    mentions_of: dict[tuple[str, str], list[Mention]] = {}
    for chunk in list_chunks(doc):
        if chunk.root.pos_ == "PRON" or chunk.root.lower_ in skip:
            continue
        expanded = expand_chunk(chunk)
        key = chunk.text.lower(), expanded.text.lower()
        spellings.setdefault(key, (chunk.text, expanded.text))
        mention = Mention(
            (chunk.start_char, chunk.end_char), (expanded.start_char, expanded.end_char)
        )
        mentions_of.setdefault(key, []).append(mention)
    return [Reference(*spellings[key], tuple(mentions)) for key, mentions in mentions_of.items()]


def expand_chunk(chunk: Span) -> Span:
    """The chunk with the subtrees of its root's children, as far as they adjoin it without a gap.

    Subtrees of children in APART stay out ("two ears and a face" is not said of the ears);
    coordination deeper down stays in. Punctuation, spaces and conjunctions at the right end are cut
    off, never those of the chunk.
    """
    doc = chunk.doc
    members = {token.i for token in chunk}
    for child in chunk.root.children:
        if child.dep_ not in APART:
            members |= {token.i for token in child.subtree}
    start, end = chunk.start, chunk.end
    while start - 1 in members:
        start -= 1
    while end in members:
        end += 1
    while end > chunk.end and is_loose(doc[end - 1]):
        end -= 1
    return doc[start:end]


def is_loose(token: Token) -> bool:
    """Whether a token is removed at the end of an expression."""
    return token.is_punct or token.is_space or token.dep_ == "cc"


def list_chunks(doc: Doc) -> list[Span]:
    """The noun chunks of a doc. Without parts of speech spaCy finds none and says nothing; here it
    is an error.

    Raises:
        UserError: naming what is missing.
    """
    annotations = {
        "POS": "parts of speech (tagger and attribute_ruler)",
        "DEP": "dependencies (parser)",
    }
    if missing := [
        description for name, description in annotations.items() if not doc.has_annotation(name)
    ]:
        raise UserError(
            f"spaCy doc has no {' and no '.join(missing)}, so no noun chunks; use a full English "
            "pipeline"
        )
    try:
        return list(doc.noun_chunks)
    except NotImplementedError:
        raise UserError(
            f"spaCy has no noun chunks for language {doc.lang_!r}; use an English pipeline"
        ) from None


def parse_references(
    captions: Sequence[str], model: str | None = None, *, skip: Collection[str] = ()
) -> Iterator[list[Reference]]:
    """Yield the references of each caption, parsed by `captionseg.text.noun_extraction.load`."""
    for doc in load(model).pipe(cut_captions(captions), batch_size=512):
        yield find_references(doc, skip=skip)
