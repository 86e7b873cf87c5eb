"""Which words are masked, for each way of masking, and what is remembered of them."""

import json

import pytest

from captionseg.supervision.columns import Supervision
from captionseg.training.masked import masked_captions
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
def test_masked_captions(tmp_path, source, most, text, target):
    (tmp_path / "lemma.json").write_text(json.dumps({"dogs": "dog"}))
    found = masked_captions(CAPTIONS, source, tmp_path, most=most)
    assert found.texts == [text, "nothing at all"]
    assert found.target.tolist() == [target, [-1] * len(target)]
