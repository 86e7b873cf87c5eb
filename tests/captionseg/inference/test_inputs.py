"""No more is read than a model and the refinement of its masks ask for."""

import numpy as np
import pytest

from captionseg.modeling.segmenter import Reads


@pytest.mark.parametrize(
    ("reads", "refine", "found"),
    [
        (Reads(), "none", (True, False, False)),
        (Reads(), "pamr", (True, True, False)),
        (Reads(picture=16), "none", (False, True, False)),
        (Reads(picture=16), "segments", (True, True, False)),
        (Reads(dense=True), "none", (False, False, True)),
        (Reads(dense=True), "segments", (True, False, True)),
    ],
)
def test_what_is_read(world, reads, refine, found):
    inputs = world.prepared.inputs(reads, refine=refine)
    batch = inputs(np.array([3]), (8, 8))
    assert (batch.region_mask.shape[1] > 0, batch.image is not None, batch.dense is not None) == found
