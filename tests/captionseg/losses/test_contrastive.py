"""Eq. 1-4 of CoCu on numbers small enough to follow by hand."""

import math

import pytest
import torch

from captionseg.losses.contrastive import contrastive_loss, may_be_negative

E = math.e
DIAGONAL = torch.eye(2, dtype=torch.bool)
EVERYTHING = torch.ones(2, 2, dtype=torch.bool)


def close(value: torch.Tensor, expected: float) -> None:
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_eq_1_and_2_by_hand():
    logits = torch.tensor([[1.0, 0.0], [2.0, 1.0]])  # images in rows, texts in columns
    image_to_text = contrastive_loss(logits, DIAGONAL, EVERYTHING)
    close(image_to_text, -0.5 * (math.log(E / (E + 1)) + math.log(E / (E**2 + E))))
    text_to_image = contrastive_loss(logits.T, DIAGONAL, EVERYTHING)
    close(text_to_image, -0.5 * (math.log(E / (E + E**2)) + math.log(E / (1 + E))))


def test_eq_3_by_hand_in_both_forms():
    # two images, L = 2 texts each: columns are image 0's texts, then image 1's
    logits = torch.tensor([[1.0, 2.0, 0.0, -1.0], [0.0, 1.0, 1.0, 0.0]])
    positive = torch.tensor([[True, True, False, False], [False, False, True, True]])
    candidate = torch.ones(2, 4, dtype=torch.bool)
    first, second = E + E**2 + 1 + 1 / E, 1 + E + E + 1  # the two denominators
    log_sum = -0.5 * (math.log((E + E**2) / first) + math.log((E + 1) / second))
    close(contrastive_loss(logits, positive, candidate, "log_sum"), log_sum)
    soft = -0.5 * (
        0.5 * (math.log(E / first) + math.log(E**2 / first))
        + 0.5 * (math.log(E / second) + math.log(1 / second))
    )
    close(contrastive_loss(logits, positive, candidate, "soft_target"), soft)
    # by Jensen: the log of a sum of positives is kinder than the mean of their logs
    assert soft > log_sum


def test_eq_4_by_hand():
    # L = 2, B = 2: four texts in rows, images in columns; texts 0 and 1 belong to image 0
    logits = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 1.0], [-1.0, 0.0]])
    positive = torch.tensor([[True, False], [True, False], [False, True], [False, True]])
    share = E / (E + 1)  # in every row the positive is one above the other
    close(contrastive_loss(logits, positive, torch.ones(4, 2, dtype=torch.bool)), -math.log(share))


def test_forms_agree_for_one_positive():
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    eye, everything = torch.eye(5, dtype=torch.bool), torch.ones(5, 5, dtype=torch.bool)
    torch.testing.assert_close(
        *(contrastive_loss(logits, eye, everything, form) for form in ("log_sum", "soft_target"))
    )
    cross_entropy = torch.nn.functional.cross_entropy(logits, torch.arange(5))
    torch.testing.assert_close(contrastive_loss(logits, eye, everything), cross_entropy)


@pytest.mark.parametrize("form", ["log_sum", "soft_target"])
def test_order_of_queries_and_texts_does_not_matter(form):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 6, generator=generator)
    positive, candidate = (torch.rand(4, 6, generator=generator) < p for p in (0.4, 0.7))
    rows, columns = torch.randperm(4, generator=generator), torch.randperm(6, generator=generator)
    shuffled = (t[rows][:, columns] for t in (logits, positive, candidate))
    torch.testing.assert_close(
        contrastive_loss(logits, positive, candidate, form), contrastive_loss(*shuffled, form)
    )


@pytest.mark.parametrize("form", ["log_sum", "soft_target"])
def test_what_is_no_candidate_counts_as_if_it_were_not_there(form):
    logits = torch.tensor([[1.0, 0.5, 9.0], [0.2, 2.0, 9.0]])
    positive = torch.tensor([[True, False, False], [False, True, False]])
    masked = contrastive_loss(logits, positive, torch.tensor([[True, True, False]] * 2), form)
    torch.testing.assert_close(
        masked, contrastive_loss(logits[:, :2], positive[:, :2], EVERYTHING, form)
    )


def test_a_positive_is_always_in_the_denominator():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert contrastive_loss(logits, DIAGONAL, ~EVERYTHING).item() == 0.0  # -log(e / e)


def test_a_query_without_positive_does_not_count():
    logits = torch.tensor([[1.0, 0.0], [5.0, 7.0]], requires_grad=True)
    loss = contrastive_loss(logits, torch.tensor([[True, False], [False, False]]), EVERYTHING)
    close(loss, -math.log(E / (E + 1)))
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[1], torch.zeros(2))


@pytest.mark.parametrize("form", ["log_sum", "soft_target"])
def test_no_positive_at_all_is_zero_with_gradient_zero(form):
    logits = torch.randn(2, 3, requires_grad=True)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    loss = contrastive_loss(logits, nothing, ~nothing, form)
    loss.backward()
    assert loss.item() == 0.0
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(2, 3))


def test_half_precision_logits_are_reduced_in_full_precision():
    logits = torch.full((1, 4096), 1.0, dtype=torch.float16)
    positive = torch.zeros(1, 4096, dtype=torch.bool)
    positive[0, 0] = True
    close(contrastive_loss(logits, positive, ~positive), math.log(4096))


def test_may_be_negative_by_hand():
    archive = torch.tensor([[3, 5, -1], [-1, -1, -1]])
    concepts = torch.tensor(
        [
            [3, -1],  # names only what image 0 may show
            [3, 7],  # names something else too
            [7, -1],
            [-1, -1],  # names nothing: always a negative
        ]
    )
    assert may_be_negative(archive, concepts).tolist() == [
        [False, True, True, True],
        [True, True, True, True],
    ]


@pytest.mark.parametrize(
    ("queries", "held", "keys", "named", "concepts"),
    [(7, 5, 9, 3, 6), (1, 1, 1, 1, 1), (6, 4, 8, 2, 1000), (5, 0, 4, 2, 3), (4, 3, 5, 0, 3)],
)
def test_may_be_negative_as_defined(queries, held, keys, named, concepts):
    """Against the definition, element by element; repeated concepts and padding anywhere."""
    generator = torch.Generator().manual_seed(0)
    archive = torch.randint(-1, concepts, (queries, held), generator=generator)
    texts = torch.randint(-1, concepts, (keys, named), generator=generator)
    expected = [
        [not (names := set(text) - {-1}) or not names <= set(image) for text in texts.tolist()]
        for image in archive.tolist()
    ]
    assert may_be_negative(archive, texts).tolist() == expected
    strided = texts.T.contiguous().T
    assert may_be_negative(archive.T.contiguous().T, strided).tolist() == expected
