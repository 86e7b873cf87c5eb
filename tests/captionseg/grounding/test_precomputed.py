"""The grounder that finds nothing, because phrases come with their boxes."""

import numpy as np

from captionseg.grounding.grounders import GROUNDERS
from captionseg.grounding.precomputed import Precomputed


def test_it_finds_nothing():
    grounder = Precomputed("given.json").build()
    grounder.prepare(["a dog"])
    assert len(grounder.boxes(np.zeros((4, 4, 3), np.uint8), ["a dog"])) == 0
    assert GROUNDERS["precomputed"] is Precomputed
