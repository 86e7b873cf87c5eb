import numpy as np

from captionseg.curation.nouns import Nouns
from captionseg.curation.rule import supervise_all
from tests.captionseg.supervision.rows import concepts_of


def test_the_concepts_that_the_caption_names_all_alike(by_hand):
    result = supervise_all(Nouns(), by_hand, name="nouns")
    assert result.to_texts() == [["dog"], ["dog", "grass"], ["grass"], ["car"], [], []]
    assert {(c.score, c.weight, c.cluster, c.rule) for row in concepts_of(result) for c in row} == {
        (1.0, 1.0, -1, "nouns")
    }
    assert np.isnan([c.score_a for row in concepts_of(result) for c in row]).all()
    assert list(result.drop_reason) == ["", "", "", "", "no_concept", "no_concept"]


def test_the_limit_keeps_the_most_frequent(by_hand):
    rows = supervise_all(Nouns(limit=1), by_hand).to_texts()
    assert rows[1] == ["dog"]  # the vocabulary's order
