"""Which words are masked, for each way of masking, and what is remembered of them."""

import json

import numpy as np
import pytest

from captionseg.records import Concept, Supervision
from captionseg.training.masked import masked_captions

CAPTIONS = {"a": "Two dogs on grass, a man", "b": "nothing at all"}
NUMBER = {"grass": 0, "dog": 1, "people": 2, "sky": 3}


def supervision(**names) -> Supervision:
    blank = Supervision.blank(np.array(["a", "b"], object))
    return Supervision(
        blank.uid,
        blank.kept,
        blank.drop_reason,
        [tuple(Concept(n) for n in names.get(uid, ())) for uid in ("a", "b")],
    )


@pytest.mark.parametrize(
    ("masking", "text", "target"),
    [
        ("all", "Two [MASK] on grass, a [MASK]", [1, 2]),
        ("one", "Two [MASK] on grass, a man", [1]),
        ("nouns", "Two dogs on [MASK], a man", [0]),
    ],
)
def test_masked_captions(tmp_path, masking, text, target):
    (tmp_path / "lemma.json").write_text(json.dumps({"dogs": "dog"}))
    curated = supervision(a=("sky", "people", "dog"), b=("sky",))
    found = masked_captions(CAPTIONS, tmp_path, curated, supervision(a=("grass",)), masking, NUMBER)
    assert found.texts == [text, "nothing at all"]
    assert found.target.tolist() == [target, [-1] * len(target)]
