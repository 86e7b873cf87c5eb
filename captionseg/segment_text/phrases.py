"""The phrases to ground in each image: those of its captions, and the concepts of curation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from captionseg.text.referring import Reference


@dataclass(frozen=True)
class Phrase:
    """A text to look for in an image, and where it comes from.

    Attributes:
        text: as written.
        kind: phrase (of the caption) or concept (curated).
        expression: the referring expression of a phrase ("a dog in the grass"); empty if it is the
            phrase itself.
        spans: (start, end) characters of a phrase's mentions in its caption.
        caption: number of its caption, the generated one last; -1 for a concept, and for what a
            file says.
        box: x0, y0, x1, y1 as shares of the picture's sides, of a phrase that comes with its box;
            else None.
        rle: of the mask of such a phrase; empty if it has none.
        size: height and width of that mask.
    """

    text: str
    kind: str
    expression: str = ""
    spans: tuple[tuple[int, int], ...] = ()
    caption: int = 0
    box: tuple[float, ...] | None = None
    rle: str = ""
    size: tuple[int, ...] = (0, 0)

    def texts(self, score: float) -> list[dict[str, Any]]:
        """The texts of one box, schema SEGMENT_TEXT: phrase and expression (USE stores both)."""
        kinds = [(self.text, self.kind)] + [(self.expression, "expression")] * bool(self.expression)
        common = {"score": score, "caption": self.caption, "count": 1}
        return [{"text": text, "kind": kind, **common} for text, kind in kinds]


@dataclass(frozen=True)
class CaptionPhrases:
    """A caption of an image, and its phrases.

    Attributes:
        text: as written; the phrases' spans count its characters.
        phrases: those of the caption; beside the first caption the curated concepts too.
    """

    text: str
    phrases: tuple[Phrase, ...]


def normalise_text(text: str) -> str:
    """Lower case, one space between words, no full stop at the end: equal texts compare equal."""
    return " ".join(text.lower().split()).rstrip(". ")


def collect_phrases(
    captions: Sequence[Sequence[str]],
    concepts: Sequence[Sequence[str]],
    *,
    references: Callable[[Sequence[str]], Iterable[Sequence[Reference]]],
    expressions: bool = True,
    stop: Collection[str] = (),
) -> list[list[CaptionPhrases]]:
    """The captions of each image with their phrases; a concept that is a phrase too is left out.

    Args:
        captions: [N] captions of each image, at least one, the original ones first.
        concepts: [N] curated concepts of each image.
        references: captions -> what each speaks of (`captionseg.text.referring.parse_references`).
        expressions: of phrases of equal text, those with different expressions are different;
            otherwise phrases have none.
        stop: a phrase whose last word is one of these names nothing of its own ("a picture") and is
            left out.
    """
    collected, parsed = [], iter(references([text for row in captions for text in row]))
    for texts, image_concepts in zip(captions, concepts, strict=True):
        rows = [
            list_caption_phrases(next(parsed), number, expressions=expressions, stop=stop)
            for number in range(len(texts))
        ]
        seen = {normalise_text(phrase.text) for row in rows for phrase in row} | {""}
        unique: dict[str, Phrase] = {}
        for text in image_concepts:
            if (key := normalise_text(text)) not in seen:
                unique.setdefault(key, Phrase(text, "concept", caption=-1))
        rows[0] += unique.values()
        collected.append(
            [CaptionPhrases(text, tuple(row)) for text, row in zip(texts, rows, strict=True)]
        )
    return collected


def list_given_phrases(given: Sequence[dict[str, Any]]) -> list[CaptionPhrases]:
    """Return the phrases that come with their boxes, as those of one caption without words, if
    there are any.

    Args:
        given: of an image, see `captionseg.segment_text.given.find_given`.
    """
    phrases = [
        Phrase(
            _join_words(one["text"]),
            one["kind"],
            caption=-1,
            box=tuple(one["box"]),
            rle=one["rle"],
            size=tuple(one["size"]),
        )
        for one in given
        if normalise_text(one["text"])
    ]
    return [CaptionPhrases("", tuple(phrases))] if phrases else []


def list_caption_phrases(
    parsed: Sequence[Reference], number: int, *, expressions: bool, stop: Collection[str]
) -> list[Phrase]:
    """The phrases of caption `number`, each pair of normalised phrase and expression once, with all
    its mentions.
    """
    spellings: dict[tuple[str, str], tuple[str, str]] = {}
    spans: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for reference in parsed:
        phrase, whole = normalise_text(reference.phrase), normalise_text(reference.expression)
        if not phrase or phrase.split()[-1] in stop:
            continue
        key = phrase, whole if expressions and whole != phrase else ""
        spellings.setdefault(
            key,
            (_join_words(reference.phrase), _join_words(reference.expression) if key[1] else ""),
        )
        spans.setdefault(key, []).extend(mention.phrase for mention in reference.mentions)
    return [
        Phrase(text, "phrase", expression, tuple(sorted(spans[key])), number)
        for key, (text, expression) in spellings.items()
    ]


def _join_words(text: str) -> str:
    return " ".join(text.split())
