"""Who belongs to whom, and all contrastive losses against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from captionseg.modeling.objectives.pair_losses import (
    Texts,
    find_unique,
    image_contrast,
    pair_contrast,
    relate_texts,
    segment_contrast,
)
from captionseg.modeling.segmenter import gather_single

THERE = torch.tensor([[True, True], [True, False], [True, True]])
CONCEPT = torch.tensor([[0, 1], [2, -1], [1, 3]])[..., None]
ARCHIVE = torch.tensor([[0, 1, -1], [2, 3, -1], [1, 3, 0]])


def texts() -> Texts:
    torch.manual_seed(0)
    return Texts(F.normalize(torch.randn(3, 2, 4), dim=-1), CONCEPT, THERE)


def test_own_texts_and_those_that_may_be_negatives():
    found = relate_texts(texts(), ARCHIVE, 0, mask_negatives=True)
    assert found.own.int().tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]]
    # image 0 may show concept 1, so the text (2, 0) is none of its negatives; image 1 may show 3;
    # image 2 may show 0, 1
    assert found.negative.int().tolist() == [
        [0, 0, 1, 0, 0, 1],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 1, 0, 0, 0],
    ]
    assert found.valid.tolist() == [True, True, True, False, True, True]


def test_without_masking_every_other_text_is_a_negative():
    found = relate_texts(texts(), ARCHIVE, 0, mask_negatives=False)
    assert torch.equal(found.negative, ~found.own & found.valid)


def test_a_rank_owns_its_part():
    found = relate_texts(texts(), ARCHIVE[1:2], 1, mask_negatives=True)
    assert found.own.int().tolist() == [[0, 0, 1, 0, 0, 0]]


def test_image_contrast_by_loops():
    related, scale = relate_texts(texts(), ARCHIVE, 0, mask_negatives=True), torch.tensor(3.0)
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
        columns.append(
            -(top / (top + sum(logits[i, k] for i in range(3) if related.negative[i, k]))).log()
        )
    expected = 0.5 * (sum(images) / 3 + sum(columns) / 5)
    torch.testing.assert_close(image_contrast(cosine, related, scale, gather_single), expected)


def test_pair_contrast_by_loops():
    """Eq. 3.7 of CoDe: the other text of an image is a negative, what its archive holds of others
    is none.
    """
    given, scale = texts(), torch.tensor(2.0)
    related = relate_texts(given, ARCHIVE, 0, mask_negatives=True)
    regions = F.normalize(torch.randn(3, 2, 4), dim=-1)
    pairs = [(i, j) for i in range(3) for j in range(2) if THERE[i, j]]
    logits = {(p, q): (scale * regions[p] @ given.vectors[q]).exp() for p in pairs for q in pairs}

    def may(p, q) -> bool:
        return p[0] == q[0] or int(CONCEPT[q]) not in ARCHIVE[p[0]].tolist()

    forth = [-(logits[p, p] / sum(logits[p, q] for q in pairs if may(p, q))).log() for p in pairs]
    back = [-(logits[q, q] / sum(logits[p, q] for p in pairs if may(p, q))).log() for q in pairs]
    expected = 0.5 * (sum(forth) / 5 + sum(back) / 5)
    found = pair_contrast(regions, given.vectors, related, scale, gather_single, rank=0)
    torch.testing.assert_close(found, expected)


def test_the_literal_form_is_cross_entropy_with_the_diagonal():
    given = Texts(
        *(value if value.dtype.is_floating_point else torch.ones_like(value) for value in texts())
    )
    related = relate_texts(given, ARCHIVE, 0, mask_negatives=False)
    regions = F.normalize(torch.randn(3, 2, 4), dim=-1)
    logits = 5.0 * regions.flatten(0, 1) @ given.vectors.flatten(0, 1).T
    number = torch.arange(6)
    expected = 0.5 * (F.cross_entropy(logits, number) + F.cross_entropy(logits.T, number))
    found = pair_contrast(regions, given.vectors, related, torch.tensor(5.0), gather_single, rank=0)
    torch.testing.assert_close(found, expected)


def test_the_first_of_each_number():
    first, which = find_unique(torch.tensor([7, 3, 7, -1, 3]))
    assert first.tolist() == [3, 1, 0]
    assert which.tolist() == [2, 1, 2, 0, 1]


# five segments: 0 and 3 drew the same text, 7; text 4, which 1 drew, names 2 too
NUMBER = torch.tensor([7, 4, 2, 7, 9])
KNOWN = torch.tensor([[7, -1, -1], [4, 5, -1], [2, 4, 6], [1, 7, -1], [9, -1, -1]])
NAMES = {(s, t) for s, row in enumerate(KNOWN.tolist()) for t in row if t >= 0}


def drawn() -> tuple[torch.Tensor, torch.Tensor]:
    """Segments, and texts that are equal where their numbers are."""
    g = torch.Generator().manual_seed(3)
    segments, table = (F.normalize(torch.randn(n, 4, generator=g), dim=-1) for n in (5, 10))
    return segments, table[NUMBER]


def found(duplicates: str, scale: float = 30.0) -> float:
    segments, texts = drawn()
    return segment_contrast(
        segments, texts, NUMBER, KNOWN, scale=scale, duplicates=duplicates
    ).item()


def nll(logits: list[float], at: int) -> float:
    """-log of the softmax of one."""
    return math.log(sum(math.exp(v - logits[at]) for v in logits))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_one_segment_and_its_text_have_nothing_to_tell_apart():
    for duplicates in ("plain", "unique", "mask"):
        loss = segment_contrast(
            torch.eye(2)[:1],
            torch.eye(2)[:1],
            torch.tensor([3]),
            torch.tensor([[3]]),
            scale=30.0,
            duplicates=duplicates,
        )
        assert loss.item() == 0.0


def test_two_pairs_by_hand():
    """Cosines 1 and 0 at scale 2: each way log(1 + e^-2)."""
    for duplicates in ("plain", "unique", "mask"):
        loss = segment_contrast(
            torch.eye(2),
            torch.eye(2),
            torch.tensor([3, 1]),
            torch.tensor([[3], [1]]),
            scale=2.0,
            duplicates=duplicates,
        )
        assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_plain_is_the_equation_in_a_loop():
    segments, texts = drawn()
    s = (30.0 * segments @ texts.T).tolist()
    terms = [nll(s[i], i) + nll([s[j][i] for j in range(5)], i) for i in range(5)]
    assert found("plain") == pytest.approx(sum(terms) / (2 * 5), rel=1e-5)


def test_masked_duplicates_are_no_negatives_in_a_loop():
    segments, texts = drawn()
    s, number = (30.0 * segments @ texts.T).tolist(), NUMBER.tolist()
    terms = []
    for i in range(5):
        mine = [j for j in range(5) if j == i or (i, number[j]) not in NAMES]
        named = [j for j in range(5) if j == i or (j, number[i]) not in NAMES]
        terms += [
            nll([s[i][j] for j in mine], mine.index(i)),
            nll([s[j][i] for j in named], named.index(i)),
        ]
    assert found("mask") == pytest.approx(mean(terms), rel=1e-5)
    assert found("mask") < found("plain")


def test_unique_texts_are_compared_once_in_a_loop():
    segments, texts = drawn()
    number = NUMBER.tolist()
    different = sorted(set(number))
    s = [[30.0 * float(segments[i] @ texts[number.index(t)]) for t in different] for i in range(5)]
    rows = [
        mean([nll(s[i], u) for u, t in enumerate(different) if (i, t) in NAMES]) for i in range(5)
    ]
    columns = [
        mean([nll([s[j][u] for j in range(5)], i) for i in range(5) if (i, t) in NAMES])
        for u, t in enumerate(different)
    ]
    assert len(columns) == 4
    assert found("unique") == pytest.approx(0.5 * (mean(rows) + mean(columns)), rel=1e-5)


@pytest.mark.parametrize("duplicates", ["plain", "unique", "mask"])
def test_without_segments_there_is_nothing_to_lose_and_a_gradient(duplicates):
    segments = torch.zeros(0, 4, requires_grad=True)
    none = torch.zeros(0, dtype=torch.long)
    loss = segment_contrast(
        segments, torch.zeros(0, 4), none, none[:, None], scale=30.0, duplicates=duplicates
    )
    loss.backward()
    assert loss.item() == 0.0
    assert segments.grad is not None
