"""SAM 3 as a grounder: parity with transformers' processor on a small random model."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Sam3Processor

from captionseg.grounding.concept_detector import CONTEXT, ConceptDetector, Concepts
from captionseg.grounding.grounders import GROUNDERS
from captionseg.grounding.sam3 import WHERE, Sam3, Sam3Grounder
from captionseg.records import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
PHRASES = ["a dog", "Red square", "a dog", "!"]
LONG = "a very long red square on the grass under a blue sky with a dog"


@pytest.fixture(scope="module")
def detector(tiny_sam3) -> ConceptDetector:
    from pathlib import Path

    return ConceptDetector.load(Path(tiny_sam3), WHERE)


@pytest.fixture(scope="module")
def grounder(detector) -> Sam3Grounder:
    return Sam3Grounder(detector, Sam3(threshold=0.0, batch=2))


def ask_transformers(detector, text: str, threshold: float, mask_threshold: float = 0.5) -> dict:
    """What transformers' own processor makes of its model's answer."""
    processor = Sam3Processor(detector.processor, detector.tokenizer)
    inputs = processor(images=[IMAGE], text=[text], return_tensors="pt")
    inputs.pop("original_sizes")
    with torch.inference_mode():
        out = detector.model(**inputs)
    return processor.post_process_instance_segmentation(
        out, threshold, mask_threshold, target_sizes=[IMAGE.shape[:2]]
    )[0]


@pytest.mark.parametrize("mask_threshold", [0.5, 0.4])
def test_boxes_masks_and_scores_are_those_of_transformers(detector, mask_threshold):
    everything = ask_transformers(detector, "a dog", 0.0)["scores"]
    threshold = float(everything.sort().values[1:3].mean())
    theirs = ask_transformers(detector, "a dog", threshold, mask_threshold)
    params = Sam3(threshold=threshold, mask_threshold=mask_threshold)
    found = Sam3Grounder(detector, params).boxes(IMAGE, ["red square", "a dog"])
    ours = found.take(np.flatnonzero(found.phrase == 1))
    order = theirs["scores"].argsort(descending=True)
    assert len(ours) == len(order) == 3
    assert ours.score == pytest.approx(theirs["scores"][order].numpy(), abs=1e-5)
    corners = theirs["boxes"][order].numpy().clip(0, [30, 20, 30, 20])
    assert ours.boxes == pytest.approx(corners, abs=1e-3)
    assert ours.masks is not None
    assert (ours.masks != theirs["masks"][order].bool().numpy()).mean() < 1e-3
    assert (ours.boxes.dtype, ours.phrase.dtype, ours.score.dtype, ours.masks.dtype) == (
        np.float32,
        np.int32,
        np.float32,
        bool,
    )


def test_each_phrase_is_looked_for_by_itself_and_equal_ones_once(grounder, monkeypatch):
    found = grounder.boxes(IMAGE, PHRASES)
    for number, phrase in enumerate(PHRASES):
        alone = grounder.boxes(IMAGE, [phrase])
        of_phrase = found.take(np.flatnonzero(found.phrase == number))
        assert of_phrase.score == pytest.approx(alone.score, abs=1e-5)
        assert (np.diff(of_phrase.score) <= 0).all()
    asked = []
    tokenise = ConceptDetector.tokenise
    monkeypatch.setattr(
        ConceptDetector,
        "tokenise",
        lambda self, texts: asked.append(texts) or tokenise(self, texts),
    )
    grounder.boxes(IMAGE, PHRASES)
    assert asked == [["a dog", "Red square", "!"]]


def test_upper_case_is_lower_case(grounder):
    upper, lower = (grounder.boxes(IMAGE, [phrase]) for phrase in ("RED Square", "red square"))
    assert np.array_equal(upper.score, lower.score)


def test_nothing_to_find_is_no_mask_of_the_size_of_the_picture(grounder, detector):
    strict = Sam3Grounder(detector, Sam3(threshold=1.0))
    for found in (
        grounder.boxes(IMAGE, []),
        grounder.boxes(IMAGE, [" "]),
        strict.boxes(IMAGE, ["a dog"]),
    ):
        assert found.masks is not None
        assert found.stability is not None
        assert len(found) == len(found.stability) == 0
        assert found.masks.shape == (0, 20, 30)


def test_phrases_longer_than_the_text_encoder_are_cut_and_counted(grounder, detector):
    assert len(detector.tokenizer(LONG)["input_ids"]) > CONTEXT
    found = grounder.boxes(IMAGE, [LONG, "a dog", LONG + " and more"])
    assert found.cut == 1  # of a caption
    assert found.score[found.phrase == 0] == pytest.approx(found.score[found.phrase == 2], abs=1e-5)
    assert grounder.boxes(IMAGE, ["a dog"]).cut == 0


@pytest.mark.parametrize("shape", [(1, 10, 3), (10, 1, 3), (3, 5, 3)])
def test_a_picture_of_few_pixels(grounder, shape):
    found = grounder.boxes(np.zeros(shape, np.uint8), ["a dog"])
    assert found.masks is not None
    assert found.masks.shape[1:] == shape[:2]
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= shape[1::-1]).all()


def test_stability_is_the_overlap_of_masks_at_two_thresholds(detector):
    """Logits of one instance by hand: 2 of 4 pixels above 1, one of 0.5, one of -0.5."""
    logits = torch.tensor([[[[2.0, 3.0], [0.5, -0.5]]]])
    one = torch.ones(1, 1)
    concepts = Concepts(torch.tensor([[[0.0, 0.5, 1.5, 1.0]]]), one, logits, one, logits[:, 0])
    image = np.zeros((2, 2, 3), np.uint8)
    plain, narrow = (
        vars(Sam3Grounder(detector, params).select(concepts, 0, image))
        for params in (Sam3(), Sam3(offset=0.25))
    )
    assert plain["masks"].tolist() == [[[True, True], [True, False]]]
    assert plain["boxes"].tolist() == [[0, 1, 2, 2]]
    assert plain["stability"].tolist() == [0.5]
    assert narrow["stability"].tolist() == [1.0]


def test_the_released_layout_of_the_video_model_loads(tiny_sam3, tmp_path, grounder):
    """facebook/sam3 holds the detector and the tracker of videos in one folder."""
    from pathlib import Path

    for file in Path(tiny_sam3).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "sam3_video", "detector_config": config})
    )
    tensors = load_file(tmp_path / "model.safetensors")
    tensors = {f"detector_model.{name}": tensor for name, tensor in tensors.items()}
    save_file(
        tensors | {"tracker_model.mask_token": torch.zeros(2)},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    processor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": processor}))
    loaded = GROUNDERS["sam3"](str(tmp_path), threshold=0.0, device="cpu").build()
    ours, theirs = (one.boxes(IMAGE, ["a dog"]) for one in (grounder, loaded))
    assert len(ours) > 0
    assert np.array_equal(ours.boxes, theirs.boxes)


def test_another_model_and_missing_or_foreign_files_are_one_line_each(tiny_sam3, tmp_path):
    from pathlib import Path

    def refused(path) -> str:
        with pytest.raises(UserError, match=r"^segment_text\.sam3\.checkpoint: ") as caught:
            Sam3(str(path)).build()
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no config.json in 'facebook/sam3'; give a local folder of a SAM 3" in refused(
        "facebook/sam3"
    )
    for file in Path(tiny_sam3).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    save_file(
        {k: v for k, v in tensors.items() if k != "text_projection.bias"},
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    assert "lacks 1 tensors, such as text_projection.bias" in refused(tmp_path)
    tensors["text_projection.bias"][0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert "text_projection.bias contains NaN" in refused(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "sam2"}))
    assert "is a sam2, not one of sam3, sam3_video" in refused(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "does not load as a SAM 3" in refused(tmp_path)
