"""OWLv2: parity with transformers' processor on a small random model, and its traps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import Owlv2Processor

from captionseg.grounding.grounders import GROUNDERS
from captionseg.grounding.owlv2 import Owlv2, Owlv2Grounder, to_picture
from captionseg.records import UserError

SHAPES = [(20, 30, 3), (30, 20, 3), (24, 24, 3)]
IMAGES = [np.random.default_rng(0).integers(0, 256, s, dtype=np.uint8) for s in SHAPES]
TEXTS = ["a dog", "red square", "the grass"]
LONG = "a very long red square on the grass"


@pytest.fixture(scope="module")
def grounder(owlv2_folder) -> Owlv2Grounder:
    return GROUNDERS["owlv2"](owlv2_folder, threshold=0.0, nms_iou=1.0, device="cpu").build()


def with_params(grounder: Owlv2Grounder, **params) -> Owlv2Grounder:
    return Owlv2Grounder(
        grounder.model, grounder.tokenizer, grounder.processor, Owlv2(nms_iou=1.0, **params)
    )


@pytest.mark.parametrize("image", IMAGES, ids=["wide", "tall", "square"])
def test_boxes_phrases_and_scores_are_those_of_transformers(grounder, image):
    processor = Owlv2Processor(grounder.processor, grounder.tokenizer)
    options: dict[str, Any] = {"return_tensors": "pt"}
    inputs = processor(text=[TEXTS], images=[image], **options)
    with torch.inference_mode():
        out = grounder.model(**inputs)
    threshold = float(out.logits.sigmoid().amax(-1).median())
    theirs = processor.post_process_grounded_object_detection(
        out, threshold, target_sizes=[image.shape[:2]]
    )[0]
    height, width = image.shape[:2]
    corners = theirs["boxes"].numpy().clip(0, [width, height] * 2)
    seen = (corners[:, 2:] > corners[:, :2]).all(1)  # the others lie in the padding
    ours = with_params(grounder, threshold=threshold).boxes(image, TEXTS)
    order = np.lexsort((-theirs["scores"][seen].numpy(), theirs["labels"][seen].numpy()))
    assert len(ours) == seen.sum() > 0
    assert ours.phrase.tolist() == theirs["labels"][seen][order].tolist()
    assert ours.score == pytest.approx(theirs["scores"][seen][order].numpy(), abs=1e-5)
    assert ours.boxes == pytest.approx(corners[seen][order], abs=1e-3)
    assert (ours.boxes.dtype, ours.phrase.dtype, ours.score.dtype) == (
        np.float32,
        np.int32,
        np.float32,
    )


def test_boxes_are_shares_of_the_longer_side_and_end_where_the_picture_does():
    whole = np.array([[0.0, 0.0, 1.0, 1.0], [0.5, 0.25, 0.75, 0.5]])
    assert to_picture(whole, np.zeros((50, 100, 3))).tolist() == [[0, 0, 100, 50], [50, 25, 75, 50]]
    assert to_picture(whole, np.zeros((100, 50, 3))).tolist() == [[0, 0, 50, 100], [50, 25, 50, 50]]


def test_thresholds_the_best_phrase_and_duplicates_by_hand(grounder):
    score = np.array([[0.9, 0.8], [0.7, 0.2], [0.1, 0.3], [0.9, 0.9]], np.float32)
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 3], [9, 9, 12, 12], [5, 5, 5, 9]], np.float32)
    params = {"threshold": 0.1}
    best = with_params(grounder, **params).select(score, boxes)
    assert sorted(zip(best.phrase.tolist(), best.boxes[:, 3].tolist(), strict=True)) == [
        (0, 3),
        (0, 4),
        (1, 12),
    ]  # the last box has no area
    every = with_params(grounder, **params, names="all").select(score, boxes)
    assert np.bincount(every.phrase).tolist() == [2, 3]
    few = Owlv2Grounder(grounder.model, None, None, Owlv2(nms_iou=0.7)).select(score, boxes)
    assert few.score.tolist() == pytest.approx([0.9, 0.3])


def test_equal_phrases_upper_case_and_other_pictures(grounder):
    found = grounder.boxes(IMAGES[0], ["a dog", " ", "A DOG", "a dog"])
    of = {n: found.take(np.flatnonzero(found.phrase == n)) for n in (0, 1, 2, 3)}
    assert np.array_equal(of[0].boxes, of[3].boxes)
    assert not len(of[1])
    alone = [with_params(grounder, threshold=0.0).boxes(IMAGES[0], [t]) for t in ("a dog", "A DOG")]
    assert alone[0].score == pytest.approx(alone[1].score, abs=1e-6)
    one = np.zeros((1, 12, 3), np.uint8)
    assert (grounder.boxes(one, TEXTS).boxes[:, 3] <= 1).all()


def test_nothing_to_find_and_what_is_too_long(grounder):
    assert not len(grounder.boxes(IMAGES[0], []))
    assert not len(with_params(grounder, threshold=1.0).boxes(IMAGES[0], TEXTS))
    found = grounder.boxes(IMAGES[0], [LONG, "a dog", LONG + " and more"])
    assert found.cut == 1  # of a caption
    grounder.prepare(TEXTS)
    assert grounder.boxes(IMAGES[0], TEXTS[:1]).cut == 0
    assert grounder.embedding.shape == (3, 16)


def test_batches_of_phrases_change_nothing_and_a_template_is_part_of_the_text(grounder):
    small, with_article = (with_params(grounder, batch=2), with_params(grounder, template="a {}"))
    small.prepare(TEXTS)
    with_article.prepare(["dog"])
    grounder.prepare(TEXTS)
    assert small.embedding == pytest.approx(grounder.embedding, abs=1e-5)
    assert with_article.embedding[0] == pytest.approx(
        grounder.embedding[grounder.known["a dog"]], abs=1e-5
    )


def test_another_model_is_one_line(tiny_sam3):
    with pytest.raises(UserError, match=r"^segment_text\.owlv2\.checkpoint: .*is a sam3, not one"):
        Owlv2(tiny_sam3).build()
