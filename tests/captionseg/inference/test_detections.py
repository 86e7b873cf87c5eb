"""Detections by hand: parts among the background's classes, and only masks that look like a part
stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from captionseg.inference.detections import detect_masks
from captionseg.model_inputs import Inputs
from captionseg.prepared import without_regions


class Table:
    """A model that gives masks the probabilities that it was told."""

    def __init__(self, *rows: list[float]) -> None:
        self.rows = torch.tensor(rows)

    def mask_scores(self, inputs: Inputs, classes: torch.Tensor) -> torch.Tensor:
        return self.rows[None]


MASKS = torch.zeros(1, 4, 2, 3, dtype=torch.bool)
MASKS[0, 0, 0], MASKS[0, 1, :, 1], MASKS[0, 2, 1, 2] = True, True, True  # the last one is padding
# head, tail | grass, animal
NET = Table([0.4, 0.1, 0.3, 0.2], [0.3, 0.2, 0.1, 0.4], [0.1, 0.5, 0.2, 0.2], [0.9, 0.0, 0.1, 0.0])
WANTED = torch.tensor([True, True, False, False])


def test_masks_of_background_and_padding_are_left_out() -> None:
    inputs = replace(without_regions(1, (2, 3)), masks=MASKS)
    found = detect_masks(NET, inputs, torch.zeros(4, 2), WANTED)
    assert found.classes.tolist() == [0, 1]
    assert found.scores == pytest.approx([0.4, 0.5])
    np.testing.assert_array_equal(found.masks, MASKS[0, [0, 2]].numpy())


def test_without_a_background_every_mask_is_found() -> None:
    inputs = replace(without_regions(1, (2, 3)), masks=MASKS)
    assert detect_masks(NET, inputs, torch.zeros(4, 2), WANTED | True).classes.tolist() == [0, 3, 1]


def test_masks_have_the_size_asked_for() -> None:
    inputs = replace(without_regions(1, (4, 6)), masks=MASKS)
    found = detect_masks(NET, inputs, torch.zeros(4, 2), WANTED).masks
    np.testing.assert_array_equal(found, MASKS[0, [0, 2]].numpy().repeat(2, 1).repeat(2, 2))


def test_none_is_none() -> None:
    inputs = replace(without_regions(1, (4, 6)), masks=MASKS)
    found = detect_masks(NET, inputs, torch.zeros(4, 2), WANTED & False)
    assert (found.masks.shape, found.classes.shape, found.scores.shape) == ((0, 4, 6), (0,), (0,))


def test_regions_where_there_are_no_masks() -> None:
    labels = torch.tensor([[[0, 1, 1], [2, 2, 3]]], dtype=torch.uint8)
    inputs = replace(
        without_regions(1, (2, 3)),
        regions=torch.zeros(1, 4, 0),
        labels=labels,
        region_mask=torch.ones(1, 4, dtype=torch.bool),
    )
    found = detect_masks(NET, inputs, torch.zeros(4, 2), WANTED)
    assert found.masks.astype(int).tolist() == [
        [[1, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [1, 1, 0]],
        [[0, 0, 0], [0, 0, 1]],
    ]
    assert found.classes.tolist() == [0, 1, 0]
