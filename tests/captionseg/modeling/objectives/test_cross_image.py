"""Who is the partner of whom, and which groups show an entity."""

import pytest
import torch

from captionseg.modeling.objectives.cross_image import find_partners, select_nearest_groups


def test_partners_are_the_next_of_the_same_concept():
    concepts = torch.tensor([5, 2, 5, -1, 2, 5, 7, -1])
    assert find_partners(concepts).tolist() == [2, 4, 5, -1, 1, 0, -1, -1]
    assert find_partners(torch.tensor([-1, -1])).tolist() == [-1, -1]
    assert find_partners(torch.tensor([3])).tolist() == [-1]


def test_groups_nearest_to_an_entity():
    groups = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])
    found = select_nearest_groups(groups, torch.tensor([[0.0, 1.0]]), 2)
    assert found.tolist() == [[[0.0, 1.0], [pytest.approx(0.6), pytest.approx(0.8)]]]
