import math
from dataclasses import replace

import numpy as np
import pytest

from captionseg.curation.caption_retrieval import CaptionRetrieval
from captionseg.curation.rule import supervise_all
from captionseg.records import Corpus
from tests.captionseg.supervision.rows import Concept, concepts_of


def curate(rule: CaptionRetrieval, corpus: Corpus) -> list[dict[str, Concept]]:
    return [{c.text: c for c in row} for row in concepts_of(supervise_all(rule, corpus))]


@pytest.fixture
def corpus(by_hand) -> Corpus:
    """`by_hand` with captions retrieved for image 0: those of images 2 and 3, then 1; none for the
    others.
    """
    near = np.full((6, 3), -1, np.int32)
    near[0] = [2, 3, 1]
    return replace(by_hand, caption_neighbours=near, neighbours=np.full((6, 3), -1, np.int32))


def test_concepts_of_the_retrieved_captions_and_of_its_own_ranked_by_f(corpus):
    rows = curate(CaptionRetrieval(captions=1, own_first=False), corpus)
    assert list(rows[0]) == ["grass", "dog"]
    assert (rows[0]["grass"].score, rows[0]["dog"].score) == pytest.approx((0.9, 0.8))
    assert set(curate(CaptionRetrieval(captions=2), corpus)[0]) == {"dog", "grass", "car"}
    assert set(rows[1]) == {"dog", "grass"}
    assert rows[4] == {}


def test_support_counts_the_retrieved_captions(corpus):
    row = curate(CaptionRetrieval(captions=3), corpus)[0]
    assert {text: c.support for text, c in row.items()} == {"dog": 1, "grass": 2, "car": 1}
    assert all(math.isnan(c.score_b) for c in row.values())


def test_own_concepts_stand_first_and_are_drawn_like_the_best(corpus):
    row = curate(CaptionRetrieval(captions=3, temperature=0.2), corpus)[0]
    assert list(row) == ["dog", "grass", "car"]
    assert row["dog"].weight == row["grass"].weight == 1.0
    assert row["car"].weight == pytest.approx(math.exp((0.2 - 0.9) / 0.2), rel=1e-4)
    literal = curate(CaptionRetrieval(captions=3, temperature=0.2, own_first=False), corpus)[0]
    assert literal["dog"].weight == pytest.approx(math.exp((0.8 - 0.9) / 0.2), rel=1e-4)


def test_a_row_without_any_concept_is_dropped(corpus):
    result = supervise_all(CaptionRetrieval(), corpus)
    assert list(result.drop_reason) == ["", "", "", "", "no_concept", "no_concept"]
