import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation.cocu_calibrated import CalibratedCoCu, average_positives
from captionseg.curation.labelling import LeaveOneOut
from captionseg.curation.relevance import relevance
from captionseg.records import Corpus
from captionseg.supervision.columns import Supervision
from tests.captionseg.supervision.rows import Concept, concepts_of

RULE = CalibratedCoCu(estimator="cosine", neighbours=3, minimum_support=1, temperature=0.1)


def curate(rule: CalibratedCoCu, corpus: Corpus) -> list[dict[str, Concept]]:
    return [
        {c.text: c for c in row} for row in concepts_of(rule(corpus, Supervision.blank(corpus.uid)))
    ]


def f_mean(corpus: Corpus) -> np.ndarray:
    return average_positives(lambda rows: relevance(corpus, rows, "shifted"), corpus, 4)


def test_mu_is_the_mean_over_the_captions_that_name_the_concept(by_hand):
    # dog: images 0 and 1; grass: 1 and 2; car: 3
    np.testing.assert_allclose(f_mean(by_hand), [(0.8 + 1) / 2, (0.5 + 1) / 2, 0.1], atol=1e-6)


def test_mu_of_a_concept_that_nobody_names_is_unknown(by_hand):
    nobody = replace(
        by_hand, named=by_hand.named.multiply(np.array([[1, 1, 0]])).astype(bool).tocsr()
    )
    assert np.isnan(f_mean(nobody)).tolist() == [False, False, True]
    assert all("car" not in row for row in curate(replace(RULE, minimum_support=0), nobody))


def test_how_far_an_image_falls_short_of_a_typical_positive(by_hand):
    rows = curate(RULE, by_hand)
    assert rows[3]["dog"].score == pytest.approx(1.0, rel=1e-5)  # .9 is what is typical
    assert rows[1]["car"].score == pytest.approx(math.exp((0.0 - 0.1) / 0.1), rel=1e-4)
    assert rows[2]["dog"].score == pytest.approx(math.exp((0.5 - 0.9) / 0.1), rel=1e-4)
    assert rows[0]["grass"].score == 1.0  # .9 is above the typical .75: no more than certain


def test_own_concepts_are_certain_whatever_the_image_looks_like(by_hand):
    rows = curate(RULE, by_hand)
    assert rows[1]["grass"].score == 1.0  # f = .5 is far below .75
    assert next(iter(rows[0])) == "dog"
    assert list(curate(replace(RULE, limit=1), by_hand)[3]) == ["car"]


def test_minimum_support_and_minimum_score(by_hand):
    assert set(curate(replace(RULE, minimum_support=2), by_hand)[0]) == {"dog", "grass"}
    # car: exp(-1)
    assert set(curate(replace(RULE, minimum_score=0.5), by_hand)[1]) == {"dog", "grass"}


def test_labels_estimate_is_g_over_its_mean_at_the_named(make_corpus):
    corpus = make_corpus(images=60, concepts=4)
    rule = CalibratedCoCu(
        estimator="labels", strength=2.0, neighbours=9, minimum_support=0, limit=4
    )
    g = LeaveOneOut.fit(corpus.image_feature, corpus.named, 2.0).predict(np.arange(60))
    named = corpus.named.toarray()
    for i, row in enumerate(curate(rule, corpus)):
        for c, text in enumerate(corpus.vocabulary):
            expected = (
                1.0
                if named[i, c]
                else np.clip(g[i, c] / max(g[named[:, c], c].mean(), 1e-3), 1e-4, 1.0)
            )
            assert row[text].score == pytest.approx(expected, rel=1e-4)


def test_no_image_is_scored_by_its_own_caption(make_corpus):
    corpus = make_corpus(images=60, concepts=4)
    flipped = corpus.named.toarray()
    flipped[7] = ~flipped[7]
    other = replace(corpus, named=csr_array(flipped))
    here, there = (
        LeaveOneOut.fit(c.image_feature, c.named, 2.0).predict(np.array([7]))
        for c in (corpus, other)
    )
    np.testing.assert_allclose(here, there, atol=1e-5)
