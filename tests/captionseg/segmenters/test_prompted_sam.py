"""SAM 2 and SAM-HQ prompted with boxes: parity with transformers' processors on small random
models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam2Processor, SamHQProcessor

from captionseg.records import UserError
from captionseg.segmenters.prompted_sam import PromptedSam, PromptedSegmenter
from captionseg.segmenters.sam2 import Sam2
from captionseg.segmenters.sam_hq import SamHq
from captionseg.segmenters.segmenters import SEGMENTERS

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
BOXES = np.array([[2, 3, 20, 30], [10, 10, 59, 47], [0, 0, 60, 48]], np.float32)
PROCESSORS = {"sam2": Sam2Processor, "sam_hq": SamHQProcessor}


@pytest.fixture(scope="module")
def models(sam_folders) -> dict[str, PromptedSam]:
    return {
        "sam2": PromptedSam.load_sam2(Path(sam_folders["sam2"]), "here"),
        "sam_hq": PromptedSam.load_sam_hq(Path(sam_folders["sam_hq"]), "here"),
    }


@pytest.fixture(params=PROCESSORS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(models, kind) -> PromptedSam:
    return models[kind]


@pytest.mark.parametrize("prompt", ["boxes", "points"])
@pytest.mark.parametrize("multimask", [True, False])
def test_masks_and_predicted_iou_are_those_of_transformers(model, kind, prompt, multimask):
    processor = PROCESSORS[kind](model.processor)
    points = BOXES[:, :2] + 4
    asked: dict[str, Any] = (
        {"input_boxes": [BOXES.tolist()]}
        if prompt == "boxes"
        else {"input_points": [[[p] for p in points.tolist()]]}
    )
    inputs = processor(images=[IMAGE], return_tensors="pt", **asked)
    sizes = {n: inputs.pop(n) for n in ("original_sizes", "reshaped_input_sizes") if n in inputs}
    with torch.inference_mode():
        out = model.model(
            **{name: value.float() for name, value in inputs.items()}, multimask_output=multimask
        )
        theirs = processor.post_process_masks(out.pred_masks, **sizes, binarize=False)[0]
        ours, iou = model.predict(
            model.embed(IMAGE), BOXES if prompt == "boxes" else points, multimask=multimask
        )
    assert ours.shape == (3, 3 if multimask else 1, 48, 60)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(iou, out.iou_scores[0], atol=1e-4, rtol=1e-4)


def test_batches_of_boxes_change_nothing_and_no_box_needs_no_model(model):
    params = Sam2(min_iou=0.0, small_area=0)
    one, all_ = (
        PromptedSegmenter(model, params, multimask=True, batch=b).masks(IMAGE, BOXES)
        for b in (1, 3)
    )
    assert one[0].shape == (3, 48, 60)
    assert (one[0] != all_[0]).mean() < 1e-3  # a logit near zero may fall to either side
    assert one[1] == pytest.approx(all_[1], abs=1e-3)
    nothing: Any = None
    masks, stability = PromptedSegmenter(nothing, params, multimask=True, batch=1).masks(
        IMAGE, np.zeros((0, 4))
    )
    assert masks.shape == (0, 48, 60)
    assert not len(stability)


@pytest.mark.parametrize("shape", [(1, 10, 3), (90, 7, 3)])
def test_narrow_pictures_and_a_box_of_nothing(model, shape):
    boxes = np.array([[0, 0, 5, 1], [4, 1, 4, 1]], np.float32)
    segmenter = PromptedSegmenter(model, Sam2(min_iou=0.0), multimask=True, batch=4)
    masks, stability = segmenter.masks(np.zeros(shape, np.uint8), boxes)
    assert masks.shape == (2, *shape[:2])
    assert np.isfinite(stability).all()


def test_params_reach_the_model(sam_folders, kind):
    loose, strict = (
        SEGMENTERS[kind](sam_folders[kind], device="cpu", min_iou=m).build() for m in (0.0, 1.0)
    )
    assert loose.masks(IMAGE, BOXES)[0].any()
    if kind == "sam2":  # its IoU is a sigmoid; that of the small SAM-HQ is above 1
        assert not strict.masks(IMAGE, BOXES)[0].any()
    assert (Sam2().multimask, SamHq().multimask) == (True, False)


def test_the_released_layout_of_the_video_model_loads(sam_folders, models, tmp_path):
    for file in Path(sam_folders["sam2"]).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "sam2_video"}))
    tensors = load_file(tmp_path / "model.safetensors")
    tensors |= {"memory_attention.layer_norm.weight": torch.ones(4)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = PromptedSam.load_sam2(tmp_path, "here")
    ours, theirs = (
        one.predict(one.embed(IMAGE), BOXES, multimask=False)[0] for one in (models["sam2"], loaded)
    )
    assert torch.equal(ours, theirs)


def test_another_model_and_a_missing_folder_are_one_line(sam_folders, kind, tmp_path):
    other = sam_folders["sam_hq" if kind == "sam2" else "sam2"]
    with pytest.raises(UserError, match=rf"^segment_text\.{kind}\.checkpoint: .*not one of {kind}"):
        SEGMENTERS[kind](other).build()
    with pytest.raises(UserError, match=r"no config\.json in 'facebook/sam2.1-hiera-tiny'"):
        SEGMENTERS[kind]("facebook/sam2.1-hiera-tiny").build()
