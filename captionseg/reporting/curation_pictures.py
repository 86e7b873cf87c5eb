"""Training pictures with their captions, and what each rule of curation made of them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.overlay import fit
from captionseg.reporting.params import ReportParams
from captionseg.reporting.pictures import EXAMPLES, THUMBNAIL, draw, save
from captionseg.reporting.rendering import View
from captionseg.storage.reading import read_json
from captionseg.text.vocabulary import Vocabulary


def show_curation(run: Artifacts, params: ReportParams, folder: Path, *, seed: int) -> list[View]:
    """Show training pictures with their captions, each rule's concepts and nearest neighbours."""
    chosen = draw(
        [uid for uid, row in run.pairs.items() if row["split"] == "train"],
        params.examples,
        seed=seed,
        stream=EXAMPLES,
    )
    near = run.neighbours(chosen, params.neighbours)
    images = run.images([*chosen, *itertools.chain.from_iterable(near.values())])
    archives = {rule: run.concepts(rule, chosen) for rule in run.rules}
    file = run.folders.supervision / "vocabulary" / "lemma.json"
    lemma = read_json(file) if file.exists() else {}
    views = []
    for number, uid in enumerate(chosen, start=1):
        stem = f"example_{number}"
        thumbnails = make_thumbnails(run, near.get(uid, []), images, folder, stem)
        views.append(
            {
                **save(images[uid], folder, f"{stem}.jpg"),
                **describe_concepts(run, uid, archives, lemma),
                "neighbours": list(thumbnails),
            }
        )
    return views


def describe_concepts(
    run: Artifacts,
    uid: str,
    archives: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]],
    lemma: dict[str, str],
) -> View:
    """Describe the captions of a picture and the concepts that each rule gave it.

    Args:
        run: the run.
        uid: of the picture.
        archives: rule -> uid -> (concept, score).
        lemma: plural -> singular.
    """
    true, held_out = run.known_classes.get(uid), run.pairs[uid]["held_out_captions"] or []
    own = {text for text, _ in archives.get("nouns", {}).get(uid, ())}
    confirmed = find_named(held_out, archives, uid, lemma)
    return {
        "caption": list(mark_concepts(run.pairs[uid]["caption"], own, lemma)),
        "rules": [
            {
                "rule": rule,
                "concepts": [judge_concept(*c, true, own, confirmed) for c in rows.get(uid, ())],
            }
            for rule, rows in archives.items()
        ],
        "shown": None if true is None else sorted(true),
        "held_out": held_out,
    }


def find_named(
    captions: Sequence[str],
    archives: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]],
    uid: str,
    lemma: dict[str, str],
) -> set[str]:
    """The concepts that some rule gave a picture and some caption names."""
    words = {text for rows in archives.values() for text, _ in rows.get(uid, ())}
    vocabulary = Vocabulary(tuple(sorted(words)), lemma)
    return {
        vocabulary.concepts[match.number]
        for caption in captions
        for match in vocabulary.read(caption)[1]
    }


def judge_concept(
    text: str,
    score: float,
    true: Collection[str] | None,
    own: Collection[str],
    held_out: Collection[str] = (),
) -> View:
    """A concept with its score, is it right (None: not known), does the caption name it, and does a
    held-out one?
    """
    return {
        "confirmed": text in held_out and text not in own,
        "text": text,
        "score": score if np.isfinite(score) else None,
        "right": None if true is None else text in true,
        "own": text in own,
    }


def mark_concepts(
    caption: str, own: Collection[str], lemma: dict[str, str]
) -> Iterator[tuple[str, bool]]:
    """Split a caption into pieces and tell whether each is a word of one of its own concepts."""
    words, matches = Vocabulary(tuple(sorted(own)), lemma).read(caption)
    inside = {number for match in matches for number in range(match.first, match.last + 1)}
    end = 0
    for number, word in enumerate(words):
        yield from ((piece, False) for piece in (caption[end : word.start],) if piece)
        yield caption[word.start : word.end], number in inside
        end = word.end
    yield from ((piece, False) for piece in (caption[end:],) if piece)


def make_thumbnails(
    run: Artifacts, uids: Sequence[str], images: dict[str, np.ndarray], folder: Path, stem: str
) -> Iterator[View]:
    """Write thumbnails of pictures."""
    for number, uid in enumerate(uids, start=1):
        saved = save(fit(images[uid], THUMBNAIL), folder, f"{stem}_near_{number}.jpg")
        yield {**saved, "caption": run.pairs[uid]["caption"]}
