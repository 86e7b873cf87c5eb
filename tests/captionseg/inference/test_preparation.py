"""Pictures as models read them: no more is made than somebody looks at."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.encoders.text_space import load_encoder
from captionseg.inference.preparation import build_preparation, needs_pixels, needs_regions
from captionseg.modeling.segmenter import InputSpec
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.hierarchy import Hierarchy

IMAGE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("reads", "refine", "masks", "regions", "pixels"),
    [
        (InputSpec(), "none", False, True, False),
        (InputSpec(), "pamr", False, True, True),
        (InputSpec(dense=True), "none", False, False, False),
        (InputSpec(dense=True), "segments", False, True, False),
        (InputSpec(dense=True, segments=4), "none", False, True, False),
        (InputSpec(dense=True, segments=4), "none", True, False, False),
        (InputSpec(dense=True, segments=4), "segments", True, True, False),
        (InputSpec(picture=8, tokens="clip"), "none", False, False, True),
    ],
)
def test_who_looks_at_regions_and_pixels(reads, refine, masks, regions, pixels):
    assert needs_regions(reads, refine, masks) is regions
    assert needs_pixels(reads, refine) is pixels


def test_an_encoder_is_asked_for_where_a_model_needs_one(toy, world):
    asked = []

    def encoder():
        asked.append(1)
        return load_encoder(world.encoder)

    own = InputSpec(picture=8, tokens="clip")
    found = build_preparation(own, "none", None, encoder=encoder, maker=toy.maker)(IMAGE)
    assert (asked, found.dense, found.region_mask.shape[1]) == ([], None, 0)
    assert found.image.shape == (1, 3, 20, 30)
    found = build_preparation(InputSpec(), "none", None, encoder=encoder, maker=toy.maker)(IMAGE)
    assert (asked, found.image, found.regions.shape[:2]) == ([1], None, (1, 4))


def test_masks_take_the_part_of_regions(toy, world):
    maker = Hierarchy(maker=Felzenszwalb(side=16))
    reads, frozen = InputSpec(dense=True, segments=4), load_encoder(world.encoder)
    found = build_preparation(reads, "none", maker, encoder=lambda: frozen, maker=toy.maker)(IMAGE)
    np.testing.assert_array_equal(found.masks[0], maker.masks(IMAGE)[0])
    assert found.region_mask.shape[1] == 0
    assert found.dense.shape == (1, 4, 4, 3)
