"""What each image is asked for: the noun phrases of its caption, and the concepts that curation found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.records import UserError


@dataclass(frozen=True)
class Phrase:
    """A text to look for in an image, and where it comes from.

    Attributes:
        text: as written.
        kind: phrase (of the caption) or concept (curated).
    """

    text: str
    kind: str


def normalised(text: str) -> str:
    """Lower case, one space between words, no full stop at the end: equal texts compare equal."""
    return " ".join(text.lower().split()).rstrip(". ")


def phrases_of(
    captions: Sequence[str],
    concepts: Sequence[Sequence[str]],
    *,
    chunks: Callable[[Sequence[str]], Iterable[Sequence[str]]],
    stop: Collection[str] = (),
) -> list[list[Phrase]]:
    """Per image its phrases, those of the caption first, each normalised text once.

    Args:
        captions: [N].
        concepts: [N] curated concepts of each image.
        chunks: captions -> noun phrases of each (`captionseg.text.nouns.noun_chunks`).
        stop: a phrase whose last word is one of these names nothing of its own ("a picture") and is left out.
    """
    out = []
    for spoken, curated in zip(chunks(captions), concepts, strict=True):
        found = [Phrase(" ".join(t.split()), "phrase") for t in spoken] + [Phrase(t, "concept") for t in curated]
        unique = {}
        for phrase in found:
            key = normalised(phrase.text)
            if key and (phrase.kind == "concept" or key.split()[-1] not in stop):
                unique.setdefault(key, phrase)
        out.append(list(unique.values()))
    return out


def read_concepts(supervision: Path, curation: str, most: int) -> Mapping[str, list[str]]:
    """uid -> the concepts of highest score of each kept row.

    Args:
        supervision: folder with a folder for each curation rule.
        curation: whose.
        most: concepts an image.

    Raises:
        UserError: if that rule has left nothing.
    """
    files = sorted((supervision / curation).glob("*.parquet"))
    if not files:
        has = ", ".join(sorted(p.name for p in supervision.iterdir() if any(p.glob("[0-9]*.parquet")))) or "none"
        raise UserError(f"segment_text.curation: no supervision of {curation!r} in {supervision} (there: {has})")
    table = pa.concat_tables([pq.read_table(file, columns=["uid", "kept", "concepts"]) for file in files])
    rows = zip(table["uid"].to_pylist(), table["kept"].to_pylist(), table["concepts"].to_pylist(), strict=True)
    return {uid: [c["text"] for c in concepts[:most]] for uid, kept, concepts in rows if kept}
