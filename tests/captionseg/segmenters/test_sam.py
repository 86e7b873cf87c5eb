"""Segment Anything with tiny random weights: shapes, choice, stability, and how weights are
read."""

import numpy as np
import pytest
import torch
from segment_anything.modeling import Sam as SamModel
from segment_anything.utils.amg import calculate_stability_score

from captionseg.records import UserError
from captionseg.segmenters.sam import Sam, SamSegmenter, load, measure_stability

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
BOXES = np.array([[2, 3, 20, 30], [10, 10, 59, 47], [0, 0, 60, 48]], np.float32)


@pytest.mark.parametrize("multimask", [True, False])
def test_a_mask_and_a_stability_for_every_box(model: SamModel, multimask: bool) -> None:
    segmenter = SamSegmenter(model, Sam(multimask=multimask, min_iou=-10.0, small_area=0))
    masks, stability = segmenter.masks(IMAGE, BOXES)
    assert masks.shape == (3, 48, 60)
    assert masks.dtype == bool
    assert ((stability >= 0) & (stability <= 1)).all()


def test_batches_of_boxes_change_nothing(model: SamModel) -> None:
    one, all_ = (
        SamSegmenter(model, Sam(min_iou=-10.0, batch=b)).masks(IMAGE, BOXES) for b in (1, 3)
    )
    assert (one[0] != all_[0]).mean() < 1e-3  # a logit near zero may fall to either side
    assert one[1] == pytest.approx(all_[1], abs=1e-3)


@pytest.mark.parametrize("shape", [(10, 10, 3), (1, 10, 3)])
def test_a_picture_of_ten_pixels_and_a_box_of_nothing(
    model: SamModel, shape: tuple[int, ...]
) -> None:
    boxes = np.array([[0, 0, 5, 1], [4, 1, 4, 1]], np.float32)
    masks, stability = SamSegmenter(model, Sam(min_iou=-10.0)).masks(
        np.zeros(shape, np.uint8), boxes
    )
    assert masks.shape == (2, *shape[:2])
    assert np.isfinite(stability).all()


def test_no_box_needs_no_model() -> None:
    class Unusable:
        class image_encoder:
            img_size = 64

    masks, stability = SamSegmenter(Unusable(), Sam()).masks(IMAGE, np.zeros((0, 4)))
    assert masks.shape == (0, 48, 60)
    assert not len(stability)


def test_the_most_stable_mask_is_chosen_and_a_poor_one_emptied(model: SamModel) -> None:
    segmenter = SamSegmenter(model, Sam(min_iou=0.6, small_area=0))
    logits = torch.full((2, 3, 4, 4), -9.0)
    logits[:, 0, :, :2] = 9.0
    logits[:, 0, :, 2] = 0.5  # at +1 out, at -1 in: stability 8/12
    logits[:, 1, :2] = 9.0  # stability 1
    logits[:, 2] = -0.5  # stability 0
    masks, stability = segmenter._best(logits, torch.tensor([[0.9, 0.7, 0.9], [0.9, 0.5, 0.9]]))
    assert np.array_equal(masks[0], (logits[0, 1] > 0).numpy())
    assert stability[0] == 1
    assert not masks[1].any()
    assert stability[1] == 0


def test_of_equally_stable_masks_the_one_with_the_higher_predicted_iou_is_chosen(
    model: SamModel,
) -> None:
    logits = torch.full((3, 3, 4, 4), -9.0)
    for mask in range(3):
        logits[:, mask, :, : mask + 1] = 9.0  # all of stability 1; mask i is i + 1 columns wide
    iou = torch.tensor([[0.7, 0.9, 0.8], [0.90, 0.90, 0.91], [0.9, 0.9, 0.9]])
    masks, stability = SamSegmenter(model, Sam(small_area=0))._best(logits, iou)
    assert masks.sum(axis=(1, 2)).tolist() == [8, 12, 4]
    assert stability.tolist() == [1, 1, 1]


def test_any_difference_in_stability_counts_more_than_predicted_iou(model: SamModel) -> None:
    logits = torch.full((1, 3, 2000, 2000), 9.0)
    logits[0, 0, 0, 0] = 0.5  # one pixel of four million: stability .99999975
    logits[0, 2] = -9.0
    masks, stability = SamSegmenter(model, Sam(small_area=0))._best(
        logits, torch.tensor([[1.0, 0.61, 1.0]])
    )
    assert stability[0] == 1
    assert masks.all()


def test_predicted_iou_must_exceed_its_threshold_and_is_asked_of_the_chosen_mask_alone(
    model: SamModel,
) -> None:
    logits = torch.full((3, 3, 4, 4), 9.0)
    logits[:, 1:, 0] = 0.5  # less stable, and well predicted
    # .625 is exact in float32
    iou = torch.tensor([[0.5, 0.99, 0.99], [0.625, 0.1, 0.1], [0.75, 0.1, 0.1]])
    masks, stability = SamSegmenter(model, Sam(min_iou=0.625, small_area=0))._best(logits, iou)
    assert masks.any(axis=(1, 2)).tolist() == [False, False, True]
    assert stability.tolist() == [0, 0, 1]


def test_the_chosen_mask_is_tidied_and_its_stability_is_of_its_logits(model: SamModel) -> None:
    logits = torch.full((1, 3, 12, 12), -9.0)
    logits[0, 0, 1:8, 1:8] = 9.0
    logits[0, 0, 3, 3] = -9.0  # a hole of one pixel
    logits[0, 0, 10, 10] = 0.5  # an island of one, which is the only unstable pixel
    logits[0, 1:, :, :6] = 0.5  # of stability 0
    scores = torch.full((1, 3), 0.9)
    masks, stability = SamSegmenter(model, Sam(small_area=2))._best(logits, scores)
    assert np.array_equal(np.argwhere(masks[0]), [[y, x] for y in range(1, 8) for x in range(1, 8)])
    assert stability[0] == pytest.approx(48 / 49)
    raw, same = SamSegmenter(model, Sam(small_area=0))._best(logits, scores)
    assert np.array_equal(raw[0], (logits[0, 0] > 0).numpy())
    assert same[0] == stability[0]


def test_with_one_mask_a_box_there_is_nothing_to_choose(model: SamModel) -> None:
    logits = torch.full((2, 1, 4, 4), -9.0)
    logits[0, 0, :2] = 9.0
    masks, stability = SamSegmenter(model, Sam(multimask=False, small_area=0))._best(
        logits, torch.full((2, 1), 0.9)
    )
    assert masks.sum(axis=(1, 2)).tolist() == [8, 0]
    assert stability.tolist() == [1, 0]


def test_all_boxes_of_a_batch_are_asked_at_once_and_the_picture_is_embedded_once(
    model: SamModel, monkeypatch
) -> None:
    asked, embedded = [], []
    segmenter = SamSegmenter(model, Sam(min_iou=-10.0, batch=2))
    predict, embed = segmenter.predictor.predict_torch, segmenter.predictor.set_image
    monkeypatch.setattr(
        segmenter.predictor, "set_image", lambda image: embedded.append(1) or embed(image)
    )
    monkeypatch.setattr(
        segmenter.predictor,
        "predict_torch",
        lambda *a, **k: asked.append(len(k["boxes"])) or predict(*a, **k),
    )
    segmenter.masks(IMAGE, BOXES)
    assert (asked, embedded) == ([2, 1], [1])


def test_stability_is_segment_anythings_with_zero_for_nan() -> None:
    logits = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 3
    logits[0, 0] = -5
    theirs = calculate_stability_score(logits, 0.0, 1.0)
    assert theirs[0, 0].isnan()
    assert measure_stability(logits, 0.0, 1.0)[0, 0] == 0
    assert torch.allclose(measure_stability(logits, 0.0, 1.0), theirs.nan_to_num(0.0))


def test_a_missing_or_wrong_checkpoint_is_one_line(tmp_path, monkeypatch, model: SamModel) -> None:
    import segment_anything

    with pytest.raises(UserError, match=r"segment_text\.sam\.checkpoint"):
        Sam(checkpoint=str(tmp_path / "none.pth")).build()
    monkeypatch.setattr(segment_anything, "sam_model_registry", {"vit_b": lambda: model})
    good, bad, evil = tmp_path / "good.pth", tmp_path / "bad.pth", tmp_path / "evil.pth"
    torch.save(model.state_dict(), good)
    assert load(good, "vit_b") is model
    torch.save({"weight": torch.zeros(3)}, bad)
    torch.save({"weight": print}, evil)  # an object, not a tensor: must not be unpickled
    for path in (bad, evil):
        with pytest.raises(
            UserError, match=r"not the weights of SAM vit_b.*segment_text\.sam\.arch"
        ) as error:
            load(path, "vit_b")
        assert "\n" not in str(error.value)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["mask_decoder.iou_token.weight"].view(-1)[1] = torch.nan
    torch.save(state, bad)
    with pytest.raises(
        UserError, match=r"bad.pth: tensor mask_decoder.iou_token.weight contains NaN"
    ):
        load(bad, "vit_b")
