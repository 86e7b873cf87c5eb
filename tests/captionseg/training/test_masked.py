"""Which words are masked, for each way of masking, and what is remembered of them."""

import pytest

from captionseg.supervision.columns import Supervision
from captionseg.training.masked import CaptionMasker
from tests.captionseg.supervision.rows import Concept, supervision_of

CAPTIONS = ["Two dogs on grass, a man", "nothing at all"]


def supervision(*names: tuple[str, ...]) -> Supervision:
    rows = [[Concept(name) for name in row] for row in names]
    return supervision_of("ab", rows, vocabulary=["grass", "dog", "people", "sky"])


CURATED, NOUNS = supervision(("sky", "people", "dog"), ("sky",)), supervision(("grass",), ())


@pytest.mark.parametrize(
    ("source", "most", "text", "target"),
    [
        (CURATED, None, "Two [MASK] on grass, a [MASK]", [1, 2]),
        (CURATED, 1, "Two [MASK] on grass, a man", [1]),
        (NOUNS, None, "Two dogs on [MASK], a man", [0]),
    ],
    ids=["all", "one", "nouns"],
)
def test_masked_captions(source, most, text, target):
    masker = CaptionMasker(source.vocabulary, {"dogs": "dog"}, most=most)
    found = masker(CAPTIONS, source.count, source.concept[source.concept >= 0])
    assert found.texts == [text, "nothing at all"]
    assert found.target.tolist() == target
    assert found.count.tolist() == [len(target), 0]
