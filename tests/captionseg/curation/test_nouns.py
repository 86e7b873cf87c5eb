import numpy as np

from captionseg.curation.nouns import Nouns
from captionseg.records import Supervision


def test_the_concepts_that_the_caption_names_all_alike(by_hand):
    result = Nouns()(by_hand, Supervision.blank(by_hand.uid))
    assert [[c.text for c in row] for row in result.concepts] == [
        ["dog"],
        ["dog", "grass"],
        ["grass"],
        ["car"],
        [],
        [],
    ]
    assert {(c.score, c.weight, c.cluster, c.rule) for row in result.concepts for c in row} == {
        (1.0, 1.0, -1, "nouns")
    }
    assert np.isnan([c.score_a for row in result.concepts for c in row]).all()
    assert list(result.drop_reason) == ["", "", "", "", "no_concept", "no_concept"]


def test_the_limit_keeps_the_most_frequent(by_hand):
    rows = Nouns(limit=1)(by_hand, Supervision.blank(by_hand.uid)).concepts
    assert [[c.text for c in row] for row in rows][1] == ["dog"]  # the vocabulary's order
