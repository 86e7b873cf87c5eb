import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation import relevance
from captionseg.curation.caption_retrieval import CaptionRetrieval
from captionseg.curation.cocu import CoCu
from captionseg.curation.relevance import (
    Positive,
    build_adjacency,
    compute_named_relevance,
    compute_relevance,
    expand,
    make_positive,
)
from captionseg.records import Sigmoid, UserError

SIGMOID = Sigmoid(10.0, -6.0)


def test_positive_by_hand():
    cosine = np.array([-1.0, -0.6, 0.0, 0.6, 1.0])
    np.testing.assert_allclose(make_positive(cosine, "shifted"), [1e-6, 0.2, 0.5, 0.8, 1.0])
    np.testing.assert_allclose(make_positive(cosine, "clipped"), [1e-3, 1e-3, 1e-3, 0.6, 1.0])
    softplus = [math.log(1 + math.exp(10 * c)) / 10 for c in cosine]
    np.testing.assert_allclose(make_positive(cosine, "softplus"), softplus)
    learnt = [1 / (1 + math.exp(-(10 * c - 6))) for c in cosine]
    np.testing.assert_allclose(make_positive(cosine, "sigmoid", SIGMOID), learnt)
    assert make_positive(cosine, "sigmoid", SIGMOID)[3] == 0.5


def test_a_probability_that_float32_does_not_hold_is_not_zero():
    steep = Sigmoid(112.0, -16.5)
    f = make_positive(np.array([-1.0, 0.1, 1.0], np.float32), "sigmoid", steep).astype(np.float32)
    np.testing.assert_allclose(f, [1e-30, 1 / (1 + math.exp(5.3)), 1.0], rtol=1e-5)


@pytest.mark.parametrize("rule", [CoCu(positive="sigmoid"), CaptionRetrieval(positive="sigmoid")])
def test_an_encoder_that_has_learnt_no_probability_is_one_line(by_hand, rule):
    with pytest.raises(UserError, match="positive: sigmoid needs the learnt scale and bias") as got:
        rule.fit(by_hand)
    assert "\n" not in str(got.value)
    assert rule.fit(replace(by_hand, sigmoid=SIGMOID)) is not None


@pytest.mark.parametrize("how", get_args(Positive))
def test_positive_is_above_zero_and_keeps_the_order(how):
    values = make_positive(np.linspace(-1, 1, 201), how, SIGMOID)
    assert (values > 0).all()
    assert (np.diff(values) >= 0).all()


def test_relevance_is_the_positive_cosine(by_hand):
    f = compute_relevance(by_hand, np.array([0, 5]), "shifted")
    np.testing.assert_allclose(f, [[0.8, 0.9, 0.2], [0.5, 1e-6, 0.5]], rtol=1e-6)


def test_named_relevance_holds_what_captions_name_and_nothing_else(by_hand):
    named = by_hand.named
    whole, in_parts = (
        csr_array((values, named.indices, named.indptr), shape=named.shape).toarray()
        for values in (compute_named_relevance(by_hand, "shifted", chunk=c) for c in (100, 2))
    )
    expected = [[0.8, 0, 0], [1, 0.5, 0], [0, 1, 0], [0, 0, 0.1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    np.testing.assert_array_equal(whole, in_parts)


def test_adjacency_takes_the_first_k_and_skips_padding():
    near = np.array([[2, 1, 0], [1, -1, -1], [-1, -1, -1]], np.int32)
    assert build_adjacency(near, 2, 4).toarray().tolist() == [
        [0, 1, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    assert build_adjacency(near, 9, 4).toarray().tolist() == [
        [1, 1, 1, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]


def test_more_neighbours_than_the_index_holds_is_one_line():
    near = np.array([[1, 2], [0, 2], [0, 1], [0, 1]])
    assert build_adjacency(near[:3], 9, 3).sum() == 6  # of three pictures, each has all the others
    with pytest.raises(
        UserError,
        match=r"3 neighbours an image are asked for, but the index holds 2; raise index\.",
    ):
        build_adjacency(near, 3, 4)


@pytest.mark.parametrize("cells", [1, 30, 1 << 17])
@pytest.mark.parametrize("minimum", [0, 1, 3])
def test_candidates_are_those_of_sums_over_whole_rows(make_corpus, monkeypatch, minimum, cells):
    """Whatever fits the cache: counts and sums of dense products, and no other concepts."""
    monkeypatch.setattr(relevance, "CELLS", cells)
    corpus, rows = make_corpus(images=40, concepts=12, neighbours=9), np.array([0, 3, 39, 7])
    value = np.random.default_rng(1).random((40, 12)) * corpus.named.toarray()
    near = build_adjacency(corpus.neighbours[rows], 8, 40).toarray()
    support, total = near @ corpus.named.toarray(), near @ value
    own = corpus.named[rows].toarray()
    sparse = csr_array(value)
    found = expand(corpus.neighbours[rows], 8, corpus.named[rows], sparse, minimum=minimum)
    for i in range(len(rows)):
        concept = found.concept[i][found.concept[i] >= 0]
        assert concept.tolist() == np.flatnonzero((support[i] >= minimum) | own[i]).tolist()
        assert (found.concept[i][len(concept) :] == -1).all()
        assert found.support[i, : len(concept)].tolist() == support[i, concept].tolist()
        assert found.own[i, : len(concept)].tolist() == own[i, concept].tolist()
        np.testing.assert_allclose(found.total[i, : len(concept)], total[i, concept])


def test_single_dot_products_are_those_of_a_product(make_corpus, monkeypatch):
    corpus = make_corpus(concepts=30)
    rows, concept = np.arange(40), np.tile([3, 17, -1], (40, 1))
    whole = compute_relevance(corpus, rows, "softplus")
    for few in (256, 0):
        monkeypatch.setattr(relevance, "FEW", few)
        found = compute_relevance(corpus, rows, "softplus", concept)
        np.testing.assert_allclose(found[:, :2], whole[:, [3, 17]], rtol=1e-5)
