"""What each image is asked for: what its caption speaks of, and the concepts that curation
found.
"""

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
        expression: a phrase with all that its caption says of it ("a dog in the grass"); empty if
            that is no more.
        spans: (start, end) characters of a phrase's mentions in its caption.
        caption: which caption of its image it is of, the generated one last; -1 none.
    """

    text: str
    kind: str
    expression: str = ""
    spans: tuple[tuple[int, int], ...] = ()
    caption: int = 0

    def texts(self, score: float) -> list[dict[str, Any]]:
        """What it calls the segment of one box, as SEGMENT_TEXT has it: text, and expression (USE
        stores both).
        """
        called = [(self.text, self.kind)] + [(self.expression, "expression")] * bool(
            self.expression
        )
        same = {"score": score, "caption": self.caption, "count": 1}
        return [{"text": text, "kind": kind, **same} for text, kind in called]


@dataclass(frozen=True)
class CaptionPhrases:
    """A caption of an image, and what to look for there.

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
    """Per image its captions with their phrases; a concept that is a phrase of any is not asked for
    again.

    Args:
        captions: [N] captions of each image, at least one, the original ones first.
        concepts: [N] curated concepts of each image.
        references: captions -> what each speaks of (`captionseg.text.referring.parse_references`).
        expressions: of phrases of equal text, those with different expressions are different;
            otherwise phrases have none.
        stop: a phrase whose last word is one of these names nothing of its own ("a picture") and is
            left out.
    """
    out, found = [], iter(references([text for row in captions for text in row]))
    for texts, curated in zip(captions, concepts, strict=True):
        rows = [
            list_caption_phrases(next(found), number, expressions=expressions, stop=stop)
            for number in range(len(texts))
        ]
        known = {normalise_text(phrase.text) for row in rows for phrase in row} | {""}
        unique: dict[str, Phrase] = {}
        for text in curated:
            if (key := normalise_text(text)) not in known:
                unique.setdefault(key, Phrase(text, "concept", caption=-1))
        rows[0] += unique.values()
        out.append(
            [CaptionPhrases(text, tuple(row)) for text, row in zip(texts, rows, strict=True)]
        )
    return out


def list_caption_phrases(
    spoken: Sequence[Reference], number: int, *, expressions: bool, stop: Collection[str]
) -> list[Phrase]:
    """The phrases of caption `number`, each pair of normalised phrase and expression once, with all
    its mentions.
    """
    written: dict[tuple[str, str], tuple[str, str]] = {}
    places: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for reference in spoken:
        phrase, whole = normalise_text(reference.phrase), normalise_text(reference.expression)
        if not phrase or phrase.split()[-1] in stop:
            continue
        key = phrase, whole if expressions and whole != phrase else ""
        written.setdefault(
            key,
            (_join_words(reference.phrase), _join_words(reference.expression) if key[1] else ""),
        )
        places.setdefault(key, []).extend(mention.phrase for mention in reference.mentions)
    return [
        Phrase(text, "phrase", more, tuple(sorted(places[key])), number)
        for key, (text, more) in written.items()
    ]


def _join_words(text: str) -> str:
    return " ".join(text.split())
