"""Segment Anything asked with a grid of points: tiny random weights, and logits that are made
up."""

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam as SamModel

from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MASK_MAKERS, MasksParams
from captionseg.segmenters.sam_auto import SamAuto, SamMasks, shrink_image
from tests.captionseg.segmenters.tiny_sams import draw_box

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
LOOSE = SamAuto(points=2, min_iou=-10.0, min_stability=0.0, nms_iou=1.0, small_area=0)


def scripted(maker: SamMasks, logits: list[torch.Tensor], iou: list[float]) -> SamMasks:
    """The maker, with one of these masks [h, w] and a predicted IoU for each point in place of
    SAM's three.
    """

    class Predictor:
        def set_image(self, image):
            pass

        def reset_image(self):
            pass

        def predict_torch(self, points, labels, **_):
            return torch.stack(logits)[:, None], torch.tensor(iou)[:, None], None

    script = Predictor()
    script.model = maker.generator.predictor.model  # type: ignore[attr-defined]
    script.transform = maker.generator.predictor.transform  # type: ignore[attr-defined]
    script.device = "cpu"  # type: ignore[attr-defined]
    maker.generator.predictor = script  # type: ignore[assignment]
    return maker


def test_random_weights_give_masks_of_the_size_of_the_picture(model: SamModel) -> None:
    masks, stability = SamMasks(model, LOOSE).masks(IMAGE)
    assert masks.dtype == bool
    assert stability.dtype == np.float32
    assert masks.shape == (len(stability), 48, 60)
    assert len(masks)
    again = SamMasks(model, LOOSE).masks(IMAGE)
    assert np.array_equal(masks, again[0])
    assert np.array_equal(stability, again[1])


def test_none_good_enough_is_no_mask(model: SamModel) -> None:
    # stability of random logits is near 0
    masks, stability = SamMasks(model, SamAuto(points=2)).masks(IMAGE)
    assert masks.shape == (0, 48, 60)
    assert stability.shape == (0,)


def test_the_stable_ones_of_high_iou_stay_most_stable_first(model: SamModel) -> None:
    logits = [
        draw_box(0, 0, 4, 4, soft=1),
        draw_box(6, 0, 10, 4),
        draw_box(0, 6, 4, 10, soft=3),
        draw_box(6, 6, 10, 10),
    ]
    image = np.zeros((12, 16, 3), np.uint8)
    maker = scripted(SamMasks(model, SamAuto(points=2, small_area=0)), logits, [0.9, 0.9, 0.9, 0.6])
    # stability 3/4, 1, 1/4, 1; the last one's IoU is not above .6
    masks, stability = maker.masks(image)
    assert np.allclose(stability, [1.0, 0.75])
    assert np.array_equal(masks, np.stack([(logits[1] > 0).numpy(), (logits[0] > 0).numpy()]))
    few = scripted(SamMasks(model, SamAuto(points=2, small_area=0, max_masks=1)), logits, [0.9] * 4)
    assert np.array_equal(few.masks(image)[0], masks[:1])


def test_overlapping_masks_stay_and_duplicates_go(model: SamModel) -> None:
    logits = [
        draw_box(0, 0, 8, 8),
        draw_box(0, 0, 8, 7),
        draw_box(0, 0, 4, 4),
        draw_box(10, 8, 16, 12),
    ]
    maker = scripted(SamMasks(model, SamAuto(points=2, small_area=0)), logits, [0.9, 0.8, 0.9, 0.9])
    masks, _ = maker.masks(np.zeros((12, 16, 3), np.uint8))
    assert sorted(masks.sum((1, 2)).tolist()) == [16, 24, 64]


def test_holes_are_filled_and_islands_dropped(model: SamModel) -> None:
    logits = draw_box(0, 0, 8, 8)
    logits[3, 3], logits[11, 15] = -9.0, 9.0
    maker = scripted(SamMasks(model, SamAuto(points=2, small_area=4)), [logits] * 4, [0.9] * 4)
    masks, _ = maker.masks(np.zeros((12, 16, 3), np.uint8))
    assert np.array_equal(masks, (draw_box(0, 0, 8, 8) > 0).numpy()[None])


def test_a_large_picture_is_shrunk_to_what_sam_looks_at() -> None:
    assert shrink_image(IMAGE, 60) is IMAGE
    assert shrink_image(IMAGE, 30).shape == (24, 30, 3)
    assert shrink_image(np.zeros((1, 100, 3), np.uint8), 10).shape == (1, 10, 3)


def test_weights_are_read_like_those_of_the_box_segmenter(
    tmp_path, monkeypatch, model: SamModel
) -> None:
    import segment_anything

    with pytest.raises(UserError, match=r"^masks\.sam_auto\.checkpoint: no file"):
        MasksParams("sam_auto").build()
    monkeypatch.setattr(segment_anything, "sam_model_registry", {"vit_h": lambda: model})
    torch.save(model.state_dict(), tmp_path / "good.pth")
    params = SamAuto(checkpoint=str(tmp_path / "good.pth"), device="cpu", points=3)
    maker = MasksParams("sam_auto", sam_auto=params).build()
    assert isinstance(maker, SamMasks)
    assert len(maker.generator.point_grids[0]) == 9
    assert MASK_MAKERS["sam_auto"] is SamAuto


@pytest.mark.parametrize("field", ["points", "batch", "max_masks", "longest"])
def test_parameters_that_make_no_sense_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        SamAuto(**{field: 0})
