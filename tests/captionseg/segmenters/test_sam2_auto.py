"""SAM 2 asked with a grid of points: parity with transformers' filters, and masks by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MASK_MAKERS, MasksParams
from captionseg.segmenters.prompted_sam import PromptedSam
from captionseg.segmenters.sam2_auto import Sam2Auto, Sam2Masks, lay_grid, select_good
from tests.captionseg.segmenters.tiny_sams import SIDE, draw_box

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
LOOSE = Sam2Auto(points=3, min_iou=0.0, min_stability=0.0, nms_iou=1.0, small_area=0, device="cpu")


@pytest.fixture(scope="module")
def model(sam_folders) -> PromptedSam:
    return PromptedSam.load_sam2(Path(sam_folders["sam2"]), "here")


def scripted(logits: list[torch.Tensor], iou: list[float], **params: Any) -> Sam2Masks:
    """A maker whose model has these masks, one for each of the points of the grid."""
    answers = iter(zip(logits, iou, strict=True))

    def predict(picture, points, *, multimask):
        found = [next(answers) for _ in points]
        return torch.stack([f[0] for f in found])[:, None], torch.tensor([[f[1]] for f in found])

    model: Any = SimpleNamespace(embed=lambda image: None, predict=predict)
    return Sam2Masks(model, replace(Sam2Auto(points=2, small_area=0, batch=3), **params))


def test_points_are_those_of_transformers_for_squares_and_centres_of_cells_for_others(model):
    """Of other pictures transformers takes the points' y as if they were resized with their aspect
    ratio, as by SAM, while SAM 2 squashes them.
    """
    square = np.zeros((48, 48, 3), np.uint8)
    _, points, _, _ = model.processor.generate_crop_boxes(square, SIDE, points_per_crop=3)
    assert points.numpy().reshape(-1, 2) == pytest.approx(lay_grid(3, square) * SIDE / 48, abs=1e-3)
    assert lay_grid(2, IMAGE).tolist() == [[15, 12], [45, 12], [15, 36], [45, 36]]


def test_iou_stability_and_suppression_are_those_of_transformers(model):
    g = torch.Generator().manual_seed(0)
    logits = interpolate(5 * torch.randn(25, 1, 3, 4, generator=g), (12, 16), mode="bilinear")[:, 0]
    iou = torch.rand(25, generator=g)
    rles, scores, boxes = model.processor.filter_masks(
        logits[:, None],
        iou[:, None],
        (12, 16),
        torch.tensor([0, 0, 16, 12]),
        pred_iou_thresh=0.2,
        stability_score_thresh=0.6,
    )
    theirs, _, _, _ = model.processor.post_process_for_mask_generation(rles, scores, boxes, 0.7)
    maker = scripted([*logits], iou.tolist(), points=5, min_iou=0.2)
    masks, stability = maker.masks(np.zeros((12, 16, 3), np.uint8))
    assert 1 < len(masks) == len(theirs) < len(scores) < 25
    assert {mask.tobytes() for mask in masks} == {mask.numpy().tobytes() for mask in theirs}
    assert (np.diff(stability) <= 0).all()


def test_the_stable_ones_of_high_iou_stay_most_stable_first():
    logits = [
        draw_box(0, 0, 4, 4, soft=1),
        draw_box(6, 0, 10, 4),
        draw_box(0, 6, 4, 10, soft=3),
        draw_box(6, 6, 10, 10),
    ]
    image = np.zeros((12, 16, 3), np.uint8)
    # stability 3/4, 1, 1/4, 1; the last one's IoU is not above .6
    masks, stability = scripted(logits, [0.9, 0.9, 0.9, 0.6]).masks(image)
    assert stability == pytest.approx([1.0, 0.75])
    assert np.array_equal(masks, np.stack([(logits[1] > 0).numpy(), (logits[0] > 0).numpy()]))
    few, _ = scripted(logits, [0.9] * 4, max_masks=1).masks(image)
    assert np.array_equal(few, masks[:1])


def test_overlapping_masks_stay_duplicates_go_and_holes_are_filled():
    logits = [
        draw_box(0, 0, 8, 8),
        draw_box(0, 0, 8, 7),
        draw_box(0, 0, 4, 4),
        draw_box(10, 6, 16, 12),
    ]
    logits[3][8, 12] = -9.0
    image = np.zeros((12, 16, 3), np.uint8)
    masks, _ = scripted(logits, [0.9, 0.8, 0.9, 0.9], small_area=2).masks(image)
    assert sorted(masks.sum((1, 2)).tolist()) == [16, 36, 64]


def test_an_empty_mask_is_none_and_none_good_enough_is_no_mask(model):
    logits = torch.full((2, 4, 4), -9.0)
    logits[1] = 0.5
    masks, iou, stability = select_good(logits, torch.ones(2), LOOSE)
    assert masks.shape == (1, 4, 4)
    assert (iou.tolist(), stability.tolist()) == ([1.0], [0.0])
    masks, stability = Sam2Masks(model, replace(LOOSE, min_iou=1.0)).masks(IMAGE)
    assert masks.shape == (0, 48, 60)
    assert stability.shape == (0,)


def test_batches_of_points_change_nothing_and_large_pictures_are_shrunk(model):
    one, many = (Sam2Masks(model, replace(LOOSE, batch=b)).masks(IMAGE) for b in (2, 64))
    assert len(one[0]) == len(many[0])
    assert one[1] == pytest.approx(many[1], abs=1e-3)
    small, _ = Sam2Masks(model, replace(LOOSE, longest=30)).masks(IMAGE)
    assert small.shape[1:] == (24, 30)


def test_it_is_chosen_by_its_name(sam_folders):
    with pytest.raises(UserError, match=r"^masks\.sam2_auto\.checkpoint: no config.json"):
        MasksParams("sam2_auto").build()
    maker = MasksParams(
        "sam2_auto", sam2_auto=replace(LOOSE, checkpoint=sam_folders["sam2"])
    ).build()
    assert isinstance(maker, Sam2Masks)
    assert MASK_MAKERS["sam2_auto"] is Sam2Auto
