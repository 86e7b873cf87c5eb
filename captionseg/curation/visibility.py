"""Which words pictures can show, measured by how well pictures tell who said them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float
from pyarrow import compute
from scipy.sparse import csr_array, vstack

from captionseg.curation.leave_one_out import LeaveOneOut, standardise
from captionseg.records import Corpus
from captionseg.remarks import quote_first
from captionseg.runtime.threads import map_chunks
from captionseg.text.vocabulary import Vocabulary

pc: Any = compute  # its functions are made when it is imported
log = logging.getLogger(__name__)

STRENGTH = 30.0  # of the ridge
SAMPLE = 20_000  # pictures it is fitted to, at most
BLOCK = 256  # concepts at once


def drop_invisible(
    corpus: Corpus, vocabulary: Vocabulary, read: Sequence[str] | pa.StringArray, least: float
) -> tuple[Corpus, Vocabulary]:
    """Take concepts that no picture shows out of a corpus and its vocabulary.

    Args:
        corpus: of the training pairs.
        vocabulary: of the corpus.
        read: [N] its captions, empty where they are not read.
        least: area under the ROC curve that a concept needs. It goes only if the area is lower by
            two standard errors, sqrt(area (1 - area) / captions), so rare concepts stay.
    """
    visibility = measure_visibility(corpus, STRENGTH, SAMPLE)
    count = np.bincount(corpus.named.indices, minlength=len(visibility))
    error = np.sqrt(visibility * (1 - visibility) / np.maximum(count, 1))
    is_kept = visibility + 2 * error >= least
    kept = np.flatnonzero(is_kept)
    if len(kept) in (0, len(count)):
        return corpus, vocabulary
    gone = sorted(set(vocabulary.concepts) - {vocabulary.concepts[i] for i in kept})
    log.info("no concepts, as no picture shows them: %s", quote_first(gone))
    vocabulary = Vocabulary(tuple(vocabulary.concepts[i] for i in kept), vocabulary.lemma)
    # a word of a compound that went may be a concept of its own now
    entries = np.repeat(np.arange(len(corpus)), np.diff(corpus.named.indptr))
    captions = pa.array(read, pa.string())
    is_changed = pc.equal(captions, "").to_numpy(zero_copy_only=False).copy()
    is_changed[entries[~is_kept[corpus.named.indices]]] = True
    changed = np.flatnonzero(is_changed)
    order = np.arange(len(corpus))
    order[changed] = len(corpus) + np.arange(len(changed))
    again = vocabulary.match_captions(captions.take(pa.array(changed)).to_pylist())
    smaller = replace(
        corpus,
        vocabulary=vocabulary.concepts,
        concept_embedding=corpus.concept_embedding[kept],
        named=csr_array(vstack([corpus.named[:, kept], again], format="csr"))[order],
    )
    return smaller, vocabulary


def measure_visibility(corpus: Corpus, strength: float, sample: int) -> Float[np.ndarray, " C"]:
    """Area under the ROC curve: how well pictures tell whether their captions name a concept,
    leave-one-out.

    The probability that a picture whose caption names it is scored above one whose caption does not
    (Mann-Whitney, ties count half). .5 where no caption, or every caption, names it.
    """
    rows = np.arange(0, len(corpus), max(1, -(-len(corpus) // sample)))
    features, named = np.asarray(corpus.image_feature[rows], np.float32), corpus.named[rows]
    model = LeaveOneOut.fit(features, named, strength)
    x, labels, every = standardise(features, model.scale), named.tocsc(), np.arange(len(rows))

    def measure(concepts: slice) -> np.ndarray:
        label = labels[:, concepts].toarray()
        score = model.leave_out(x @ model.weights[concepts].T, label, every)
        return np.array([measure_area(*pair) for pair in zip(score.T, label.T, strict=True)])

    starts = range(0, labels.shape[1], BLOCK)
    areas = map_chunks(measure, [slice(start, start + BLOCK) for start in starts])
    return np.concatenate([np.empty(0), *areas])


def measure_area(score: Float[np.ndarray, " n"], label: Bool[np.ndarray, " n"]) -> float:
    """Area under the ROC curve of one concept, see `measure_visibility`."""
    positives = int(label.sum())
    pairs = positives * (len(label) - positives)
    if not pairs:
        return 0.5
    ordered = np.sort(score)
    below, upto = (ordered.searchsorted(score[label], side) for side in ("left", "right"))
    ranks = ((below + upto + 1) / 2).sum()  # equal scores share the mean of their ranks
    return float((ranks - positives * (positives + 1) / 2) / pairs)
