"""Who belongs to whom, and both contrastive losses against loops."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from captionseg.modeling.pairs import Texts, first_of_each, image_contrast, pair_contrast, relations
from captionseg.modeling.segmenter import alone

THERE = torch.tensor([[True, True], [True, False], [True, True]])
CONCEPT = torch.tensor([[0, 1], [2, -1], [1, 3]])[..., None]
ARCHIVE = torch.tensor([[0, 1, -1], [2, 3, -1], [1, 3, 0]])


def texts() -> Texts:
    torch.manual_seed(0)
    return Texts(F.normalize(torch.randn(3, 2, 4), dim=-1), CONCEPT, THERE)


def test_own_texts_and_those_that_may_be_negatives():
    found = relations(texts(), ARCHIVE, 0, mask_negatives=True)
    assert found.own.int().tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]]
    # image 0 may show concept 1, so the text (2, 0) is none of its negatives; image 1 may show 3; image 2 may show 0, 1
    assert found.negative.int().tolist() == [[0, 0, 1, 0, 0, 1], [1, 1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0]]
    assert found.there.tolist() == [True, True, True, False, True, True]


def test_without_masking_every_other_text_is_a_negative():
    found = relations(texts(), ARCHIVE, 0, mask_negatives=False)
    assert torch.equal(found.negative, ~found.own & found.there)


def test_a_rank_owns_its_part():
    found = relations(texts(), ARCHIVE[1:2], 1, mask_negatives=True)
    assert found.own.int().tolist() == [[0, 0, 1, 0, 0, 0]]


def test_image_contrast_by_loops():
    related, scale = relations(texts(), ARCHIVE, 0, mask_negatives=True), torch.tensor(3.0)
    cosine = torch.rand(3, 6)
    logits, images, columns = (scale * cosine).exp(), [], []
    for i in range(3):
        own = [k for k in range(6) if related.own[i, k]]
        other = [k for k in range(6) if related.negative[i, k]]
        top = sum(logits[i, k] for k in own)
        images.append(-(top / (top + sum(logits[i, k] for k in other))).log())
    for k in range(6):
        owner = [i for i in range(3) if related.own[i, k]]
        if not owner:
            continue
        top = logits[owner[0], k]
        columns.append(-(top / (top + sum(logits[i, k] for i in range(3) if related.negative[i, k]))).log())
    expected = 0.5 * (sum(images) / 3 + sum(columns) / 5)
    torch.testing.assert_close(image_contrast(cosine, related, scale, alone), expected)


def test_pair_contrast_by_loops():
    """Eq. 3.7 of CoDe: the other text of an image is a negative, what its archive holds of others is none."""
    given, scale = texts(), torch.tensor(2.0)
    related = relations(given, ARCHIVE, 0, mask_negatives=True)
    regions = F.normalize(torch.randn(3, 2, 4), dim=-1)
    pairs = [(i, j) for i in range(3) for j in range(2) if THERE[i, j]]
    logits = {(p, q): (scale * regions[p] @ given.vectors[q]).exp() for p in pairs for q in pairs}

    def may(p, q) -> bool:
        return p[0] == q[0] or int(CONCEPT[q]) not in ARCHIVE[p[0]].tolist()

    forth = [-(logits[p, p] / sum(logits[p, q] for q in pairs if may(p, q))).log() for p in pairs]
    back = [-(logits[q, q] / sum(logits[p, q] for p in pairs if may(p, q))).log() for q in pairs]
    expected = 0.5 * (sum(forth) / 5 + sum(back) / 5)
    found = pair_contrast(regions, given.vectors, related, scale, alone, rank=0)
    torch.testing.assert_close(found, expected)


def test_the_literal_form_is_cross_entropy_with_the_diagonal():
    given = Texts(*(value if value.dtype.is_floating_point else torch.ones_like(value) for value in texts()))
    related = relations(given, ARCHIVE, 0, mask_negatives=False)
    regions = F.normalize(torch.randn(3, 2, 4), dim=-1)
    logits = 5.0 * regions.flatten(0, 1) @ given.vectors.flatten(0, 1).T
    number = torch.arange(6)
    expected = 0.5 * (F.cross_entropy(logits, number) + F.cross_entropy(logits.T, number))
    found = pair_contrast(regions, given.vectors, related, torch.tensor(5.0), alone, rank=0)
    torch.testing.assert_close(found, expected)


def test_the_first_of_each_number():
    first, which = first_of_each(torch.tensor([7, 3, 7, -1, 3]))
    assert first.tolist() == [3, 1, 0]
    assert which.tolist() == [2, 1, 2, 0, 1]
