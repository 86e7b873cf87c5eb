"""CoCu on numbers small enough to follow by hand (see `by_hand`), and against loops that read like
the paper.
"""

import math
from dataclasses import replace

import numpy as np
import pytest

from captionseg.curation.cocu import CoCu, score_b
from captionseg.curation.relevance import make_positive
from captionseg.curation.rule import supervise_all
from captionseg.records import Corpus, Sigmoid
from captionseg.text.vocabulary import Vocabulary
from tests.captionseg.supervision.rows import Concept, concepts_of

LITERAL = CoCu(neighbours=3, minimum_support=1, limit=6, clusters=0, own_first=False)


def curate(rule: CoCu, corpus: Corpus) -> list[dict[str, Concept]]:
    return [{c.text: c for c in row} for row in concepts_of(supervise_all(rule, corpus))]


def test_eq_7_of_arrays_by_hand():
    f = np.array([[0.8, 0.9, 0.2, 0.3]])
    support = np.array([[1, 2, 1, 0]])
    total = np.array([[1.0, 1.5, 0.1, 0.0]])
    expected = [[2 * 0.8 / 1.8, 3 * 0.9 / 2.4, 2 * 0.2 / 0.3, 1.0]]
    np.testing.assert_allclose(score_b(f, support, total), expected)


def test_eq_7_is_exactly_one_without_support_and_for_an_image_like_its_neighbours():
    f = np.random.default_rng(0).random((4, 5))
    assert (score_b(f, np.zeros((4, 5)), np.zeros((4, 5))) == 1.0).all()
    np.testing.assert_allclose(score_b(f, np.full((4, 5), 7.0), 7 * f), 1.0)


def test_eq_6_7_8_by_hand(by_hand):
    row = curate(LITERAL, by_hand)[0]
    dog, grass, car = row["dog"], row["grass"], row["car"]
    assert (dog.support, grass.support, car.support) == (1, 2, 1)
    assert (dog.score_a, grass.score_a, car.score_a) == pytest.approx((0.8, 0.9, 0.2))
    assert dog.score_b == pytest.approx(2 * 0.8 / (0.8 + 1.0))
    assert grass.score_b == pytest.approx(3 * 0.9 / (0.9 + 0.5 + 1.0))
    # a negative cosine, and still a fair comparison
    assert car.score_b == pytest.approx(2 * 0.2 / (0.2 + 0.1))
    assert grass.score == pytest.approx(0.9 + 1.125)
    assert list(row) == ["grass", "dog", "car"]  # 2.025, 1.689, 1.533


def test_eq_6_and_7_of_probabilities_by_hand(by_hand):
    """sigmoid(10 cos - 6); of image 0 the logits are 0, 2 and -12."""
    corpus = replace(by_hand, sigmoid=Sigmoid(10.0, -6.0))
    row = curate(replace(LITERAL, positive="sigmoid"), corpus)[0]
    dog, grass, car = row["dog"], row["grass"], row["car"]
    assert (dog.score_a, grass.score_a) == pytest.approx((0.5, 0.8807971))
    assert car.score_a == pytest.approx(6.144175e-6)
    # cosine 1 of dog with image 1; 0 and 1 of grass with images 1 and 2; -.8 of car with image 3
    assert dog.score_b == pytest.approx(2 * 0.5 / (0.5 + 0.9820138))
    assert grass.score_b == pytest.approx(3 * 0.8807971 / (0.8807971 + 0.0024726 + 0.9820138))
    assert car.score_b == pytest.approx(2 * 6.144175e-6 / (6.144175e-6 + 8.315280e-7))


@pytest.mark.parametrize("how", ["shifted", "softplus", "clipped"])
def test_each_way_to_make_the_cosine_positive(by_hand, how):
    # cosines -.6 with image 0, -.8 with image 3
    car = curate(replace(LITERAL, positive=how), by_hand)[0]["car"]
    f = {
        "shifted": lambda c: (1 + c) / 2,
        "softplus": lambda c: math.log(1 + math.exp(10 * c)) / 10,
        "clipped": lambda c: max(c, 1e-3),
    }[how]
    assert car.score_a == pytest.approx(f(-0.6), rel=1e-4)
    assert car.score_b == pytest.approx(2 * f(-0.6) / (f(-0.6) + f(-0.8)), rel=1e-4)
    assert car.score > 0


def test_own_concept_that_no_neighbour_names_is_compared_with_itself(by_hand):
    car = curate(LITERAL, by_hand)[3]["car"]  # neighbours 1, 0, 5 name dog and grass alone
    assert (car.support, car.score_b) == (0, 1.0)
    assert car.score == pytest.approx(0.1 + 1.0)


def test_a_concept_that_no_neighbour_names_stays_out(by_hand):
    rows = curate(LITERAL, by_hand)
    assert set(rows[4]) == {"grass"}  # of image 2, its only neighbour; f(car) = .8 changes nothing
    assert rows[4]["grass"].score_b == pytest.approx(2 * 0.9 / 1.9)
    assert set(rows[1]) == {"dog", "grass", "car"}


def test_minimum_support_counts_neighbours_and_spares_own_concepts(by_hand):
    rows = curate(replace(LITERAL, minimum_support=2), by_hand)
    assert set(rows[0]) == {"grass", "dog"}  # dog has one supporter, and its own caption
    assert set(rows[4]) == set()


def test_only_the_first_n_neighbours_are_asked(by_hand):
    row = curate(replace(LITERAL, neighbours=1), by_hand)[0]
    assert set(row) == {"dog", "grass"}
    assert row["grass"].score_b == pytest.approx(2 * 0.9 / (0.9 + 0.5))


def test_a_row_without_any_concept_is_dropped_with_its_reason(by_hand):
    result = supervise_all(LITERAL, by_hand)
    assert result.kept.tolist() == [True] * 5 + [False]
    assert list(result.drop_reason) == [""] * 5 + ["no_concept"]


def test_ranking_by_either_term_alone(by_hand):
    by_a, by_b = (curate(replace(LITERAL, ranking=r), by_hand)[0] for r in ("a", "b"))
    assert list(by_a) == ["grass", "dog", "car"]  # .9 .8 .2
    assert list(by_b) == ["car", "grass", "dog"]  # 1.333 1.125 .889
    assert by_a["dog"].score == by_a["dog"].score_a
    assert by_b["dog"].score == by_b["dog"].score_b


def test_own_concepts_stand_first_and_are_drawn_like_the_best(by_hand):
    row = curate(replace(LITERAL, own_first=True), by_hand)[0]
    assert list(row) == ["dog", "grass", "car"]
    assert row["dog"].weight == row["grass"].weight == 1.0
    assert list(curate(replace(LITERAL, own_first=True, limit=1), by_hand)[0]) == ["dog"]
    assert list(curate(replace(LITERAL, limit=1), by_hand)[0]) == ["grass"]


def test_weights_are_a_softmax_of_scores_with_the_best_at_one(by_hand):
    row = curate(replace(LITERAL, temperature=0.5), by_hand)[0]
    for concept in row.values():
        assert concept.weight == pytest.approx(math.exp((concept.score - row["grass"].score) / 0.5))


def test_however_faint_a_concept_is_it_can_be_drawn(by_hand):
    result = supervise_all(replace(LITERAL, temperature=1e-4), by_hand)
    assert result.weight.dtype == np.float32
    assert (result.weight > 0).tolist() == (result.concept >= 0).tolist()


def test_clusters_are_numbered_when_asked_for(by_hand):
    assert {c.cluster for c in curate(LITERAL, by_hand)[0].values()} == {-1}
    assert {c.cluster for c in curate(replace(LITERAL, clusters=3), by_hand)[0].values()} == {
        0,
        1,
        2,
    }


def test_car_is_not_found_in_carpet(by_hand):
    captions = ["a dog", "a dog on a carpet", "grass", "a scarf", "", ""]
    corpus = replace(
        by_hand,
        caption=captions,
        named=Vocabulary(("dog", "grass", "car"), {}).match_captions(captions),
    )
    assert set(curate(LITERAL, corpus)[0]) == {"dog", "grass"}


def test_against_loops_that_read_like_the_paper(make_corpus):
    corpus = make_corpus(images=30, concepts=8, neighbours=7, seed=4)
    rule = CoCu(
        neighbours=5,
        minimum_support=2,
        limit=8,
        clusters=0,
        own_first=False,
        positive="softplus",
        chunk=11,
    )
    found, named = curate(rule, corpus), corpus.named.toarray()

    def f(image: int, concept: int) -> float:
        cosine = corpus.image_embedding[image] @ corpus.concept_embedding[concept]
        return float(make_positive(np.array([cosine]), "softplus")[0])

    for image in range(len(corpus)):
        expected = {}
        for concept, text in enumerate(corpus.vocabulary):
            subset = [j for j in corpus.neighbours[image][:5] if j >= 0 and named[j, concept]]
            if len(subset) >= 2 or named[image, concept]:
                s_a = f(image, concept)
                s_b = (1 + len(subset)) * s_a / (s_a + sum(f(j, concept) for j in subset))
                expected[text] = (s_a, s_b, s_a + s_b, len(subset))
        assert set(found[image]) == set(expected)
        for text, values in expected.items():
            c = found[image][text]
            assert (c.score_a, c.score_b, c.score, c.support) == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize("field", ["neighbours", "limit", "temperature", "chunk"])
def test_values_that_make_no_sense_are_refused(field):
    with pytest.raises(ValueError, match=f"{field} must be above 0"):
        CoCu(**{field: 0})
