"""Which words pictures can show, measured by how well pictures tell who said them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from captionseg.curation.leave_one_out import LeaveOneOut
from captionseg.records import Corpus
from captionseg.remarks import quote_first
from captionseg.text.vocabulary import Vocabulary

log = logging.getLogger(__name__)

STRENGTH = 30.0  # of the ridge
SAMPLE = 20_000  # pictures it is fitted to, at most


def drop_invisible(
    corpus: Corpus, vocabulary: Vocabulary, read: Sequence[str], least: float
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
    count = np.asarray(corpus.named.sum(0)).ravel()
    error = np.sqrt(visibility * (1 - visibility) / np.maximum(count, 1))
    kept = np.flatnonzero(visibility + 2 * error >= least)
    if len(kept) in (0, len(count)):
        return corpus, vocabulary
    gone = sorted(set(vocabulary.concepts) - {vocabulary.concepts[i] for i in kept})
    log.info("no concepts, as no picture shows them: %s", quote_first(gone))
    vocabulary = Vocabulary(tuple(vocabulary.concepts[i] for i in kept), vocabulary.lemma)
    smaller = replace(
        corpus,
        vocabulary=vocabulary.concepts,
        concept_embedding=corpus.concept_embedding[kept],
        named=vocabulary.match_captions(read),  # a word of a compound that went may be one now
    )
    return smaller, vocabulary


def measure_visibility(corpus: Corpus, strength: float, sample: int) -> Float[np.ndarray, " C"]:
    """Area under the ROC curve: how well pictures tell whether their captions name a concept,
    leave-one-out.

    The probability that a picture whose caption names it is scored above one whose caption does not
    (Mann-Whitney, ties count half). .5 where no caption, or every caption, names it.
    """
    from scipy.stats import rankdata  # half a second to import

    rows = np.arange(0, len(corpus), max(1, -(-len(corpus) // sample)))
    named = corpus.named[rows]
    score = LeaveOneOut.fit(
        np.asarray(corpus.image_feature[rows], np.float32), named, strength
    ).predict(slice(None))
    label = named.toarray()
    rank_sum = (rankdata(score, axis=0) * label).sum(0)  # sum of ranks of the named
    positives = label.sum(0).astype(float)
    pairs = positives * (len(rows) - positives)
    return np.where(
        pairs > 0, (rank_sum - positives * (positives + 1) / 2) / np.maximum(pairs, 1), 0.5
    )
