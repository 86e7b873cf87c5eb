"""Painting scores of regions onto pixels."""

import torch

from captionseg.model_inputs import Inputs
from captionseg.modeling.readout.regions import paint_labels, paint_scores

INPUTS = Inputs(
    torch.zeros(1, 3, 1),
    torch.ones(1, 3, dtype=torch.bool),
    torch.tensor([[[0, 1], [2, 2]]], dtype=torch.uint8),
    (4, 2),
)
SCORES = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]])  # three regions, two classes


def test_each_pixel_has_what_its_region_has():
    painted = paint_scores(SCORES, INPUTS)
    assert painted[0, 0].tolist() == [[1.0, 0.0], [1.0, 0.0], [3.0, 3.0], [3.0, 3.0]]
    assert painted[0, 1].tolist() == [[0.0, 2.0], [0.0, 2.0], [4.0, 4.0], [4.0, 4.0]]


def test_labels_are_the_argmax():
    assert paint_labels(SCORES, INPUTS).tolist() == [[[0, 1], [0, 1], [1, 1], [1, 1]]]
