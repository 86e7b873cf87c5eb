"""Similarities of bags and texts by hand. The losses are in test_segment_mil and test_models."""

import math

import torch

from captionseg.modeling.objectives.bags import bag_similarity

REGIONS = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]])
MASK = torch.tensor([[True, True, False], [True, False, False]])
TEXTS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
# cosines of the real regions; image 0: 1 and .6 with text 0, 0 and .8 with text 1; image 1: 0 and 1


def test_the_maximum_over_regions():
    similarity = bag_similarity(REGIONS, MASK, TEXTS, 0.0)
    torch.testing.assert_close(similarity, torch.tensor([[1.0, 0.8], [0.0, 1.0]]))


def test_the_soft_maximum_over_regions():
    similarity = bag_similarity(REGIONS, MASK, TEXTS, 0.5)

    def soft(first: float, second: float) -> float:
        a, b = math.exp(first / 0.5), math.exp(second / 0.5)
        return (a * first + b * second) / (a + b)

    torch.testing.assert_close(
        similarity, torch.tensor([[soft(1.0, 0.6), soft(0.0, 0.8)], [0.0, 1.0]])
    )


def test_a_low_temperature_is_the_maximum():
    hard, soft = (bag_similarity(REGIONS, MASK, TEXTS, t) for t in (0.0, 1e-3))
    torch.testing.assert_close(soft, hard)


def test_a_bag_of_one_is_its_cosine():
    for temperature in (0.0, 0.5):
        similarity = bag_similarity(REGIONS[:, :1], MASK[:, :1], TEXTS, temperature)
        torch.testing.assert_close(similarity, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))


def test_similarities_are_float32_under_mixed_precision():
    torch.manual_seed(0)
    vectors, texts = (
        torch.nn.functional.normalize(torch.randn(*shape), dim=-1) for shape in ((2, 3, 8), (4, 8))
    )
    mask = torch.ones(2, 3, dtype=torch.bool)
    expected = bag_similarity(vectors, mask, texts, 0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bag_similarity(vectors, mask, texts, 0.0), expected)
