"""Concepts that no picture shows are taken out, and rare ones stay."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation.visibility import drop_invisible
from captionseg.records import Corpus
from captionseg.text.vocabulary import Vocabulary

COUNT = 400


@pytest.fixture
def corpus() -> Corpus:
    """A dog is seen in the features; mercy is said at random, and so is grace, but only twice."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((COUNT, 6)).astype(np.float32)
    named = np.stack(
        [features[:, 0] > 0, rng.random(COUNT) < 0.5, np.isin(np.arange(COUNT), [3, 77])], 1
    )
    names = ["dog", "mercy", "grace"]
    captions = [
        " and ".join(n for n, said in zip(names, row, strict=True) if said) for row in named
    ]
    empty = np.zeros((COUNT, 0), np.int32)
    return Corpus(
        uid=np.array([f"{i:032x}" for i in range(COUNT)], object),
        caption=captions,
        image_embedding=np.zeros((COUNT, 2), np.float32),
        image_feature=features,
        neighbours=empty,
        caption_neighbours=empty,
        vocabulary=names,
        concept_embedding=np.eye(3, 2, dtype=np.float32),
        named=csr_array(named),
    )


def test_what_is_said_at_random_goes_and_what_is_rare_stays(corpus: Corpus) -> None:
    vocabulary = Vocabulary(tuple(corpus.vocabulary), {})
    smaller, kept = drop_invisible(corpus, vocabulary, corpus.caption, 0.65)
    assert kept.concepts == tuple(smaller.vocabulary) == ("dog", "grace")
    assert smaller.concept_embedding.tolist() == corpus.concept_embedding[[0, 2]].tolist()
    assert smaller.named.toarray().tolist() == corpus.named.toarray()[:, [0, 2]].tolist()


def test_captions_that_are_not_read_name_nothing_afterwards(corpus: Corpus) -> None:
    vocabulary = Vocabulary(tuple(corpus.vocabulary), {})
    read = ["", *corpus.caption[1:]]
    smaller, _ = drop_invisible(corpus, vocabulary, read, 0.65)
    assert not smaller.named.toarray()[0].any()


def test_nothing_goes_where_all_are_seen_or_none_is(corpus: Corpus) -> None:
    vocabulary = Vocabulary(tuple(corpus.vocabulary), {})
    for least in (0.0, 2.5):
        same, kept = drop_invisible(corpus, vocabulary, corpus.caption, least)
        assert same is corpus
        assert kept is vocabulary
