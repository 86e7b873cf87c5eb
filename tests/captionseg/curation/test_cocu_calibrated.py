import math
from dataclasses import replace

import numpy as np
import pytest

from captionseg.curation import CoCuCalibrated
from captionseg.records import Concept, Corpus, Supervision

RULE = CoCuCalibrated(neighbours=3, minimum_support=1, temperature=0.1)


def curate(rule: CoCuCalibrated, corpus: Corpus) -> list[dict[str, Concept]]:
    return [{c.text: c for c in row} for row in rule(corpus, Supervision.blank(corpus.uid)).concepts]


def test_mu_is_the_mean_over_the_captions_that_name_the_concept(by_hand):
    # dog: images 0 and 1; grass: 1 and 2; car: 3
    np.testing.assert_allclose(RULE.positives(by_hand), [(0.8 + 1) / 2, (0.5 + 1) / 2, 0.1], atol=1e-6)


def test_mu_of_a_concept_that_nobody_names_is_unknown(by_hand):
    nobody = replace(by_hand, named=by_hand.named.multiply(np.array([[1, 1, 0]])).astype(bool).tocsr())
    assert np.isnan(RULE.positives(nobody)).tolist() == [False, False, True]
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
    assert list(rows[0])[0] == "dog"
    assert list(curate(replace(RULE, limit=1), by_hand)[3]) == ["car"]


def test_minimum_support_and_minimum_score(by_hand):
    assert set(curate(replace(RULE, minimum_support=2), by_hand)[0]) == {"dog", "grass"}
    assert set(curate(replace(RULE, minimum_score=0.5), by_hand)[1]) == {"dog", "grass"}  # car: exp(-1)
