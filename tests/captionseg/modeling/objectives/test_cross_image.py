"""Who is the partner of whom, and which groups show an entity."""

import math

import pytest
import torch

from captionseg.modeling.objectives.cross_image import (
    CrossBinding,
    CrossImage,
    MaskAgreement,
    enlarge,
    find_partners,
    select_nearest_groups,
)
from captionseg.modeling.segmenter import gather_single

X, Y = [[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, -1.0]]  # a group and its opposite


def test_partners_are_the_next_of_the_same_concept():
    concepts = torch.tensor([5, 2, 5, -1, 2, 5, 7, -1])
    assert find_partners(concepts).tolist() == [2, 4, 5, -1, 1, 0, -1, -1]
    assert find_partners(torch.tensor([-1, -1])).tolist() == [-1, -1]
    assert find_partners(torch.tensor([3])).tolist() == [-1]


def test_groups_nearest_to_an_entity():
    groups = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]])
    found = select_nearest_groups(groups, torch.tensor([[0.0, 1.0]]), 2)
    assert found.tolist() == [[[0.0, 1.0], [pytest.approx(0.6), pytest.approx(0.8)]]]


def test_the_mask_loss_of_a_pair_is_eq_12():
    """Tokens and groups of picture 1 lie on one axis, of picture 2 on the other, so targets are
    (.75, .25) and (.25, .75), of which .75 counts. Picture 2's online groups see .5 everywhere in
    picture 1: two dice losses of 1 - 2 (.5) / (1 + 1). Picture 1's see .75 and .25 in picture 2:
    two of 1 - 2 (.75) / (1 + 1).
    """
    cross = CrossImage(
        tokens=torch.tensor([X, Y]),
        groups=torch.tensor([Y, Y]),
        target_tokens=torch.tensor([X, Y]),
        target_groups=torch.tensor([X, Y]),
        mask=torch.ones(2, 2, dtype=torch.bool),
        concept=torch.tensor([3, 3]),
        entity=torch.zeros(2, 2),
    )
    agreement = MaskAgreement(1.0, 0.65, relative=False, scale=math.log(3.0), reduction="mean")
    found = agreement(cross, gather_single, rank=0)
    assert found.item() == pytest.approx(0.5 * ((0.5 + 0.5) + (0.25 + 0.25)))


def test_masks_of_the_binding_by_hand():
    """Keys of both pictures are 4 and -4 in the first of 4 channels, so logits are 2 and -2, halved
    by the root. A mask of two tokens is right or wrong in both, whatever the scale.
    """
    keys = torch.zeros(2, 2, 4)
    keys[:, :, 0] = torch.tensor([4.0, -4.0])
    query = torch.zeros(2, 2, 4)
    query[:, :, 0] = torch.tensor([1.0, 0.5])
    online = query.clone()
    online[1] *= -1.0  # picture 2 sees the opposite in picture 1
    online.requires_grad_()
    similarity = torch.tensor([[0.1, 0.2], [0.3, 0.2]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    concept = torch.tensor([3, 3])
    cross = CrossBinding(online, query, keys, similarity, mask, concept, None, 16)
    agreement = MaskAgreement(0.5, 0.6, relative=True, scale=1.0, reduction="mean")
    loss = agreement(cross, gather_single, rank=0)
    # of picture 1: nothing of 2 + 2; of picture 2 all
    assert loss.item() == pytest.approx(0.5 * ((1 - 1 / 5) + 0.0))
    wide = CrossBinding(online, query, keys, similarity, mask, concept, (1, 2), 3)
    agreement(wide, gather_single, rank=0).backward()
    # near are group 1 of picture 1 and group 0 of picture 2; the others have no gradient
    assert (online.grad[0, 0] == 0).all()
    assert (online.grad[1, 1] == 0).all()
    assert cross.target_queries.grad is None


def test_maps_reach_the_corners_of_pictures():
    found = enlarge(torch.tensor([[[0.0, 3.0]]]), (1, 2), 4).unflatten(2, (4, 8))
    torch.testing.assert_close(found[0, 0, 2], torch.linspace(0.0, 3.0, 8))
