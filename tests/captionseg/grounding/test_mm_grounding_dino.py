"""MM Grounding DINO, which is read as Grounding DINO is: both give what transformers' processor
makes of a text of one phrase.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    GroundingDinoProcessor,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    SwinConfig,
)

from captionseg.grounding.grounder import Query
from captionseg.grounding.grounding_dino import GroundingDino, GroundingDinoGrounder

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def mm_model(model) -> MMGroundingDinoForObjectDetection:
    """As large as the small Grounding DINO."""
    torch.manual_seed(1)
    known = {
        key: value
        for key, value in model.config.to_dict().items()
        if key in MMGroundingDinoConfig().to_dict()
    }
    known |= {
        "text_config": BertConfig(**known["text_config"]),
        "backbone_config": SwinConfig(**known["backbone_config"]),
        "model_type": "mm-grounding-dino",
    }
    return MMGroundingDinoForObjectDetection(MMGroundingDinoConfig(**known)).eval()


@pytest.fixture(params=["grounding_dino", "mm"])
def either(request, model, mm_model):
    return mm_model if request.param == "mm" else model


@pytest.fixture(scope="module")
def folder(tmp_path_factory, mm_model, tokenizer, processor):
    path = tmp_path_factory.mktemp("mm_grounding_dino")
    for part in (mm_model, tokenizer, processor):
        part.save_pretrained(path)
    return path


@pytest.mark.parametrize("phrase", ["dog", "GRASS"])
def test_boxes_of_one_word_are_those_of_transformers(either, tokenizer, processor, phrase):
    theirs_of = GroundingDinoProcessor(processor, tokenizer)
    options: dict[str, Any] = {"return_tensors": "pt"}
    inputs = theirs_of(images=IMAGE, text=[[phrase]], **options)
    with torch.inference_mode():
        out = either(**inputs)
    is_word = torch.arange(out.logits.shape[-1]) == 1  # [CLS] word . [SEP]: others are no words
    out.logits = torch.where(is_word, out.logits, -torch.inf)
    theirs = theirs_of.post_process_grounded_object_detection(
        out, inputs["input_ids"], threshold=0.0, text_threshold=0.0, target_sizes=[(40, 80)]
    )[0]
    grounder = GroundingDinoGrounder(
        either, tokenizer, processor, GroundingDino(threshold=0.0, nms_iou=1.0)
    )
    ours = grounder.boxes(IMAGE, [phrase])
    for score, box in zip(theirs["scores"].numpy(), theirs["boxes"].numpy(), strict=True):
        at = np.abs(ours.score - score).argmin()
        assert ours.score[at] == pytest.approx(score, abs=1e-5)
        assert ours.boxes[at] == pytest.approx(box.clip(0, [80, 40] * 2), abs=1e-2)
    assert len(ours) == len(theirs["scores"]) == 12


def test_a_saved_mm_grounding_dino_loads_and_finds_the_same(folder, mm_model, tokenizer, processor):
    query = Query("A dog sits on the grass.", (((0, 5),), ((14, 23),)))
    loaded = GroundingDino(str(folder), threshold=0.0, device="cpu").build()
    own = GroundingDinoGrounder(mm_model, tokenizer, processor, GroundingDino(threshold=0.0))
    ours, theirs = (one.boxes(IMAGE, ["A dog", "the grass"], query=query) for one in (own, loaded))
    assert len(ours) > 0
    assert ours.boxes == pytest.approx(theirs.boxes, abs=1e-4)


def test_phrases_are_asked_for_with_or_without_their_caption(mm_model, tokenizer, processor):
    query = Query("A dog sits on the grass.", (((0, 5),), ((14, 23),)))
    phrases = ["A dog", "the grass"]
    caption, apart = (
        GroundingDinoGrounder(
            mm_model, tokenizer, processor, GroundingDino(prompt=prompt, threshold=0.0)
        )
        for prompt in ("caption", "phrases")
    )
    without = caption.boxes(IMAGE, phrases)
    assert np.array_equal(apart.boxes(IMAGE, phrases, query=query).score, without.score)
    assert not np.array_equal(caption.boxes(IMAGE, phrases, query=query).score, without.score)
