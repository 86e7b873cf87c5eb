"""The vocabulary of a corpus: its nouns, or the list of a file; captions go over workers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.records import LONGEST_CAPTION, UserError
from captionseg.remarks import quote_first
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.text.matching import match_corpus
from captionseg.text.noun_extraction import cut_captions
from captionseg.text.tagged_captions import CHUNK, tag_corpus
from captionseg.text.things import ThingParams, Things, find_things
from captionseg.text.vocabulary import (
    Vocabulary,
    VocabularyParams,
    find_plurals,
    read_default_stop,
    read_words,
)
from captionseg.text.words import tokens

pc: Any = compute  # its functions are made when it is imported
log = logging.getLogger(__name__)


def build(
    captions: Sequence[str] | pa.StringArray,
    params: VocabularyParams,
    *,
    folder: Path | None = None,
    runtime: RuntimeParams = HERE,
) -> Vocabulary:
    """Build the vocabulary: the frequent nouns of a corpus, by lemma, without stop words; or the
    list of a file.

    Args:
        captions: of all pairs.
        params: section `curate.vocabulary`.
        folder: keeps tagged captions for a run after one that was killed; None keeps none.
        runtime: what captions are spread over.

    Raises:
        UserError: if there is no concept, or the file cannot be read.
    """
    column = pa.array(captions, pa.string())
    if params.file is not None:
        return read_vocabulary(params.file, column, runtime)
    if folder is None:
        with tempfile.TemporaryDirectory() as made:
            things = find_nouns(column, params, Path(made), runtime)
    else:
        things = find_nouns(column, params, folder, runtime)
    if not things.concepts:
        raise UserError(
            f"curate.vocabulary: no noun occurs in {params.minimum} of {len(column)} captions; "
            "lower curate.vocabulary.minimum or give a file"
        )
    return Vocabulary(things.concepts[: params.size], things.lemma)


def find_nouns(
    captions: pa.StringArray, params: VocabularyParams, folder: Path, runtime: RuntimeParams
) -> Things:
    """Find the concepts that captions name, by tagging them; see `build`."""
    stop = set(
        read_words(params.stop, "curate.vocabulary.stop") if params.stop else read_default_stop()
    )
    if (pc.max(pc.utf8_length(captions)).as_py() or 0) > LONGEST_CAPTION:
        captions = pa.array(cut_captions(captions.to_pylist()), pa.string())
    tagged = tag_corpus(captions, folder, runtime, model=params.spacy_model)
    thing = ThingParams(params.minimum, params.noun_share, params.compound, params.keep_rows)
    return find_things(tagged.map, thing, stop)


def read_vocabulary(path: str, captions: pa.StringArray, runtime: RuntimeParams) -> Vocabulary:
    """Read the concepts of a file, with a warning about lines that can name nothing.

    Raises:
        UserError: if the file cannot be read, or holds no concept.
    """
    where = "curate.vocabulary.file"
    lines = list(dict.fromkeys(read_words(path, where)))
    concepts: dict[tuple[str, ...], str] = {}
    repeated, signs = [], []
    for line in lines:
        if not (words := tuple(tokens(line))):
            signs.append(line)
        elif concepts.setdefault(words, line) != line:
            repeated.append(line)
    if not concepts:
        raise UserError(f"{where}: {path} contains no concepts; write one per line")
    unique = captions.unique()
    plurals = find_plurals(concepts.values(), list_texts(unique))
    vocabulary = Vocabulary(tuple(concepts.values()), plurals)
    named = match_corpus(vocabulary, unique, runtime)
    unused = np.flatnonzero(np.bincount(named.indices, minlength=len(concepts)) == 0)
    for problematic, reason in (
        (signs, "have no letter and are ignored"),
        (repeated, "have the same words as another one and are ignored"),
        ([vocabulary.concepts[n] for n in unused], "occur in no caption"),
    ):
        if problematic:
            log.warning(
                "%s: of %d concepts %d %s: %s",
                where,
                len(lines),
                len(problematic),
                reason,
                quote_first(problematic),
            )
    return vocabulary


def list_texts(column: pa.StringArray) -> Iterator[str]:
    """Yield texts, of which few are objects at a time."""
    for start in range(0, len(column), CHUNK):
        yield from column[start : start + CHUNK].to_pylist()
