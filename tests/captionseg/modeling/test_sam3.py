"""SAM 3 prompted with the names of classes: its map by hand and as transformers computes it."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from transformers import Sam3Processor

from captionseg.api.model import Model
from captionseg.grounding.concept_detector import Concepts
from captionseg.inference.class_embeddings import BARE, choose_templates, embed_class_names
from captionseg.inference.classify import classify
from captionseg.inference.hub_folder import export_hub
from captionseg.inference.predictor import Predictor
from captionseg.modeling.sam3 import (
    ConceptChoices,
    Sam3,
    Sam3Config,
    combine,
    restore_pixels,
    take_fingerprint,
)
from captionseg.modeling.segmenter import Start
from captionseg.modeling.weights import saved
from captionseg.prepared import normalise_image, pixel_inputs
from captionseg.records import UserError
from tests.tiny_sam3 import CONTEXT, WIDTH

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
NAMES = ["a dog", "red square", "grass", "the sky!"]
PLAIN = ConceptChoices(None)


@pytest.fixture(scope="module")
def model(tiny_sam3) -> Sam3:
    made = Sam3(Sam3Config(tiny_sam3, picture=28, batch=3)).eval()
    made.start(Start(torch.zeros(1, 1)))
    return made


@pytest.fixture(scope="module")
def classes(model) -> torch.Tensor:
    return embed_class_names(model, None, Mock(side_effect=AssertionError), NAMES, "imagenet")


@pytest.fixture(scope="module")
def inputs():
    return pixel_inputs(normalise_image(IMAGE)[None], (8, 8))


def ask_transformers(model, name: str):
    """The answer of transformers' model to its own processor's inputs."""
    processor = Sam3Processor(model.load().processor, model.load().tokenizer)
    inputs = processor(images=[IMAGE], text=[name], return_tensors="pt")
    inputs.pop("original_sizes")
    with torch.inference_mode():
        return model.load().model(**inputs)


def test_the_map_of_a_class_by_hand():
    """Two instances of scores .8 and .5 before the presence of .5; logits of 0 are a half."""
    concepts = Concepts(
        torch.zeros(1, 2, 4),
        torch.tensor([[0.8, 0.5]]) * 0.5,
        torch.tensor([[[[0.0, -50.0]], [[-50.0, 50.0]]]]),
        torch.tensor([[0.5]]),
        torch.tensor([[[50.0, 0.0]]]),
    )
    assert combine(concepts, "instances")[0].tolist() == [pytest.approx([0.2, 0.25])]
    assert combine(concepts, "semantic")[0].tolist() == [pytest.approx([0.5, 0.25])]
    assert combine(concepts, "both")[0].tolist() == [pytest.approx([0.5, 0.25])]


def test_names_alone_are_the_prompts_and_their_features_those_of_transformers(model, classes):
    assert choose_templates(model, "imagenet") == ("{}",)
    assert classes.shape == (4, CONTEXT * WIDTH + 1)
    torch.testing.assert_close(classes.norm(dim=1), torch.ones(4))
    for name, embedding in zip(NAMES, classes, strict=True):
        ids, mask, _ = model.load().tokenise([name])
        theirs = model.load().model.get_text_features(ids, mask).pooler_output[0]
        ours = (embedding[:-1] / embedding[-1]).view(CONTEXT, WIDTH)
        torch.testing.assert_close(ours[: mask.sum()], theirs[: mask.sum()], atol=1e-5, rtol=1e-4)
        assert not ours[mask.sum() :].any()


@pytest.mark.parametrize("readout", ["instances", "semantic"])
def test_maps_are_made_of_what_transformers_answers(model, classes, inputs, readout):
    other = Sam3(replace(model.config, readout=readout))
    other.loaded = model.loaded
    found = other.segment(inputs, classes, PLAIN)
    for name, scores in zip(NAMES, found[0], strict=True):
        out = ask_transformers(model, name)
        presence = out.presence_logits.sigmoid()[0, 0]
        instances = (
            out.pred_logits.sigmoid()[0, :, None, None] * out.pred_masks[0].sigmoid()
        ).amax(0)
        wanted = instances if readout == "instances" else out.semantic_seg[0, 0].sigmoid()
        torch.testing.assert_close(scores, presence * wanted, atol=1e-5, rtol=1e-4)
    other = replace(inputs, size=(20, 30))
    assert model.segment(other, classes, PLAIN).shape == (1, 4, 20, 30)


def test_a_picture_is_classified_by_the_presence_of_classes(model, classes, inputs):
    wanted = torch.stack(
        [ask_transformers(model, name).presence_logits.sigmoid()[0, 0] for name in NAMES]
    )
    torch.testing.assert_close(classify(model, inputs, classes)[0], wanted, atol=1e-5, rtol=1e-4)


def test_pixels_without_a_class_above_the_threshold_are_background(model, classes, inputs):
    scores = model.segment(inputs, classes, PLAIN)[0]
    limit = float(scores.amax(0).median())
    choices = ConceptChoices(limit)
    labels = model.label(inputs, classes, choices)[0]
    assert torch.equal(labels, torch.where(scores.amax(0) > limit, scores.argmax(0), -1))
    assert (labels < 0).any()
    assert (labels >= 0).any()
    logits = model.segment(inputs, classes, choices)[0]
    assert torch.equal(logits.argmax(0) - 1, labels)
    assert (logits[0] == logits[0, 0, 0]).all()


def test_pixels_are_restored_from_their_normalisation():
    everything = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    assert np.array_equal(restore_pixels(normalise_image(everything)), everything)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("none-sam3")
    saved.save(path, "sam3", model, {"prompts": "simple"})
    model_tokenizer = model.load().tokenizer
    model_tokenizer.save_pretrained(path / "tokenizer")
    return path


def test_a_saved_model_labels_by_several_names_of_a_class(folder, model, inputs, tmp_path):
    limit = float(
        model.segment(inputs, embed_class_names(model, None, Mock(), NAMES, ""), PLAIN).max()
    )
    predictor = Predictor.load(folder, device="cpu", background=limit / 2)
    assert predictor.labeller.description["prompts"] == BARE
    scores = predictor.logits(IMAGE, NAMES)[1:]
    found = Model(folder, predictor).segment(IMAGE, ["a dog; grass", "red square;the sky!"])
    wanted = np.array([0, 1, 0, 1])[scores.argmax(0)]
    assert np.array_equal(found.mask, np.where(scores.max(0) > limit / 2, wanted, -1))
    said = export_hub(folder, tmp_path / "hub", licence="other")
    assert said.endswith(f"; it reads {model.config.weights}, which who loads it needs too")


def test_other_weights_than_those_it_was_made_with_and_no_weights_are_one_line_each(folder, model):
    assert not torch.equal(take_fingerprint(torch.nn.Linear(2, 2)), model.fingerprint)
    stale = saved.load(folder).model
    stale.fingerprint += 1
    with pytest.raises(UserError, match=r"has other weights than when this model was made"):
        stale.start(Start(torch.zeros(1, 1)))
    with pytest.raises(UserError, match=r"^sam3\.weights: no config\.json in '.*nowhere'"):
        Sam3(Sam3Config("/nowhere")).start(Start(torch.zeros(1, 1)))
