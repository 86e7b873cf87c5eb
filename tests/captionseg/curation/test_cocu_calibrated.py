import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from captionseg.curation import cocu_calibrated
from captionseg.curation.cocu_calibrated import (
    CalibratedCoCu,
    average_positives,
    find_floor,
    find_quantiles,
)
from captionseg.curation.leave_one_out import LeaveOneOut
from captionseg.curation.relevance import compute_relevance, expand
from captionseg.curation.rule import supervise_all
from captionseg.records import Corpus
from tests.captionseg.supervision.rows import Concept, concepts_of

RULE = CalibratedCoCu(estimator="cosine", neighbours=3, minimum_support=1, temperature=0.1)


def curate(rule: CalibratedCoCu, corpus: Corpus) -> list[dict[str, Concept]]:
    return [{c.text: c for c in row} for row in concepts_of(supervise_all(rule, corpus))]


def every(corpus: Corpus) -> np.ndarray:
    return np.arange(len(corpus))


def scores_of(corpus: Corpus, score: np.ndarray) -> csr_array:
    """Those of [N, C] scores that are of a concept which the caption names."""
    row, concept = np.nonzero(corpus.named.toarray())
    return csr_array((score[row, concept], (row, concept)), shape=score.shape)


def leave_out(corpus: Corpus, strength: float) -> np.ndarray:
    """g of all images and concepts."""
    model = LeaveOneOut.fit(corpus.image_feature, corpus.named, strength)
    return model.predict(every(corpus), corpus.image_feature, corpus.named.toarray())


def estimate(rule: CalibratedCoCu, corpus: Corpus) -> np.ndarray:
    """R of all images and concepts."""
    rows = every(corpus)
    found = expand(corpus.neighbours, 1, corpus.named, corpus.named, minimum=0)
    return rule.estimate(corpus, rule.fit(corpus), rows, found)


def f_mean(corpus: Corpus) -> np.ndarray:
    return average_positives(
        scores_of(corpus, compute_relevance(corpus, every(corpus), "shifted")), 4
    )


def test_mu_is_the_mean_over_the_captions_that_name_the_concept(by_hand):
    # dog: images 0 and 1; grass: 1 and 2; car: 3
    np.testing.assert_allclose(f_mean(by_hand), [(0.8 + 1) / 2, (0.5 + 1) / 2, 0.1], atol=1e-6)


def test_mu_of_a_concept_that_nobody_names_is_unknown(by_hand):
    named = by_hand.named.toarray() & [True, True, False]
    nobody = replace(by_hand, named=csr_array(named))
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


def test_labels_estimate_is_g_between_two_levels(make_corpus):
    """low: half of the prior; high: a quantile of g at the named, where images show few."""
    corpus = make_corpus(images=60, concepts=4)
    rule = CalibratedCoCu(
        strength=2.0, neighbours=9, minimum_support=0, limit=4, quantile=0.9, base=0.5, shown=4.0
    )
    g = leave_out(corpus, 2.0)
    named = corpus.named.toarray()
    for i, row in enumerate(curate(rule, corpus)):
        for c, text in enumerate(corpus.vocabulary):
            low = 0.5 * named[:, c].mean()
            high = np.quantile(g[named[:, c], c], 0.9, method="lower")
            shown = np.clip((g[i, c] - low) / max(high - low, 1e-3), 1e-4, 1.0)
            assert row[text].score == pytest.approx(1.0 if named[i, c] else shown, rel=1e-4)


def test_elkan_and_noto_are_a_case_of_it(make_corpus):
    """R = g / e_c where high is the mean, low is 0 and nothing bounds what an image shows."""
    corpus = make_corpus(images=60, concepts=4)
    rule = CalibratedCoCu(strength=2.0, high="mean", base=0.0, shown=1000.0)
    g = leave_out(corpus, 2.0)
    named = corpus.named.toarray()
    e = np.array([g[named[:, c], c].mean() for c in range(4)])
    np.testing.assert_allclose(
        estimate(rule, corpus), np.clip(g / np.maximum(e, 1e-3), 1e-4, 1), rtol=1e-4
    )


def test_the_floor_keeps_what_an_image_shows_within_bounds():
    """Ten concepts at .1 where that is their typical level: a floor of .2 leaves a half of each."""
    g, low, typical = np.full((3, 10), 0.1), np.zeros(10), np.full(10, 0.1)
    assert find_floor(g, low, typical, 10.0) == 0.0
    assert find_floor(g, low, typical, 5.0) == pytest.approx(0.2, abs=1e-5)
    assert find_floor(g, low, np.full(10, np.nan), 5.0) == pytest.approx(0.2, abs=1e-5)
    assert find_floor(g, low, typical, 0.5) == 1.0  # no floor is above certainty


def test_quantiles_of_the_positives_by_hand(by_hand):
    """dog: images 0 and 1; grass: 1 and 2; car: 3."""
    score = np.full((len(by_hand), 3), 9.0)
    score[:4] = [[0.1, 9, 9], [0.4, 0.8, 9], [9, 0.2, 9], [9, 9, 0.3]]
    for quantile, expected in ((0.0, [0.1, 0.2, 0.3]), (0.99, [0.1, 0.2, 0.3])):
        found = find_quantiles(scores_of(by_hand, score), quantile)
        np.testing.assert_allclose(found, expected)
    top = find_quantiles(scores_of(by_hand, score), 1.0)
    np.testing.assert_allclose(top, [0.4, 0.8, 0.3])


@dataclass(frozen=True)
class Simulated:
    """A concept that captions name at random among the images that show it."""

    shown: float  # share of images
    named: float  # e_c, share of these whose captions name it
    signal: float  # distance of the two kinds of images, in deviations of a feature


def simulate(make_corpus, concepts: list[Simulated], images: int = 4000):
    """A corpus with a feature a concept, and which image shows what, [N, C] bool."""
    rng = np.random.default_rng(0)
    shown = rng.random((images, len(concepts))) < [c.shown for c in concepts]
    named = shown & (rng.random(shown.shape) < [c.named for c in concepts])
    feature = rng.normal(size=shown.shape) + shown * [c.signal for c in concepts]
    corpus = make_corpus(images=images, concepts=len(concepts))
    return replace(corpus, image_feature=feature.astype(np.float32), named=csr_array(named)), shown


def test_a_concept_that_is_hard_to_predict_is_certain_nowhere(make_corpus):
    """AUC .855 and one caption in a hundred: g over its mean at the named would be 1 for many
    images that do not show it.
    """
    corpus, shown = simulate(make_corpus, [Simulated(0.02, 0.5, 1.5), Simulated(0.1, 0.3, 4.0)])
    rule = CalibratedCoCu(shown=0.3)
    hard, easy = estimate(rule, corpus).T
    g = leave_out(corpus, rule.strength)
    named = corpus.named.toarray()
    over_mean = np.minimum(g[:, 0] / g[named[:, 0], 0].mean(), 1.0)
    assert (over_mean[~shown[:, 0]] == 1.0).mean() > 0.03
    assert (hard[~shown[:, 0]] == 1.0).mean() < 0.002
    assert hard[~shown[:, 0]].mean() < 0.2
    assert easy[shown[:, 1]].mean() > 0.7  # e = .3: captions leave it out twice in three times
    assert easy[~shown[:, 1]].mean() < 0.1


def test_how_rarely_captions_name_a_concept_changes_little(make_corpus):
    """What R is to undo: named in a tenth or in all of the images that show it."""
    means = []
    for share in (0.1, 0.3, 1.0):
        corpus, shown = simulate(make_corpus, [Simulated(0.2, share, 4.0)])
        values = estimate(CalibratedCoCu(), corpus)[:, 0]
        means.append((values[shown[:, 0]].mean(), values[~shown[:, 0]].mean()))
    assert all(0.65 < positive <= 1.0 and negative < 0.15 for positive, negative in means), means


def test_no_image_is_scored_by_its_own_caption(make_corpus):
    corpus = make_corpus(images=60, concepts=4)
    flipped = corpus.named.toarray()
    flipped[7] = ~flipped[7]
    other = replace(corpus, named=csr_array(flipped))
    here, there = (leave_out(c, 2.0)[[7]] for c in (corpus, other))
    np.testing.assert_allclose(here, there, atol=1e-5)


@pytest.mark.parametrize("pairs", [60, 61])
def test_what_a_support_of_nothing_costs_is_said(make_corpus, monkeypatch, caplog, pairs):
    monkeypatch.setattr(cocu_calibrated, "MANY", 60)
    CalibratedCoCu(minimum_support=0).fit(make_corpus(images=pairs, concepts=4))
    CalibratedCoCu(minimum_support=1).fit(make_corpus(images=61, concepts=4))
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (pairs > 60)
    assert all(
        "minimum_support 0 scores all 4 concepts of each of 61 pairs" in line for line in said
    )


def test_what_nobody_names_changes_no_score_of_what_neighbours_name(make_corpus):
    """With a support of 1 the candidates alone are scored, as with 0 all concepts are."""
    corpus = make_corpus(images=60, concepts=20)
    dense, sparse = (
        curate(CalibratedCoCu(neighbours=9, minimum_support=n, limit=20), corpus) for n in (0, 1)
    )
    for row, (scored, some) in enumerate(zip(dense, sparse, strict=True)):
        own = {corpus.vocabulary[c] for c in np.flatnonzero(corpus.named.toarray()[row])}
        assert set(some) == own | {text for text, c in scored.items() if c.support}
        for text, concept in some.items():
            assert concept.score == pytest.approx(scored[text].score, rel=1e-5)
