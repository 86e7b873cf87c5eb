"""No more is read than a model and the refinement of its masks ask for."""

import numpy as np
import pytest

from captionseg.datasets.random_access import Pictures
from captionseg.modeling.segmenter import InputSpec
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.hierarchy import Hierarchy


@pytest.mark.parametrize(
    ("reads", "refine", "found"),
    [
        (InputSpec(), "none", (True, False, False)),
        (InputSpec(), "pamr", (True, True, False)),
        (InputSpec(picture=16), "none", (False, True, False)),
        (InputSpec(picture=16), "segments", (True, True, False)),
        (InputSpec(dense=True), "none", (False, False, True)),
        (InputSpec(dense=True), "segments", (True, False, True)),
    ],
)
def test_what_is_read(world, reads, refine, found):
    inputs = world.prepared.inputs(reads, refine=refine)
    batch = inputs(np.array([3]), (8, 8))
    assert (
        batch.region_mask.shape[1] > 0,
        batch.image is not None,
        batch.dense is not None,
    ) == found


def test_masks_take_the_part_of_regions(world):
    reads = InputSpec(dense=True, segments=4)
    plain = world.prepared.inputs(reads)(np.array([3]), (8, 8))
    assert plain.region_mask.shape[1] == 4
    assert plain.masks is None
    maker = Hierarchy(maker=Felzenszwalb(side=16))
    batch = world.prepared.inputs(reads, masks=maker)(np.array([3]), (8, 8))
    picture = Pictures.of_index(world.pairs, world.index)[3]
    np.testing.assert_array_equal(batch.masks[0], maker.masks(picture)[0])
    assert (batch.region_mask.shape[1], batch.image) == (0, None)
    both = world.prepared.inputs(reads, masks=maker, refine="segments")(np.array([3]), (8, 8))
    assert both.region_mask.shape[1] == 4
    assert (
        world.prepared.inputs(reads, masks=maker, refine="pamr")(np.array([3]), (8, 8)).image
        is not None
    )
