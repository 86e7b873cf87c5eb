"""SigLIP and SigLIP 2: as transformers' own processor and model, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from captionseg import remarks
from captionseg.encoders.encoder import normalise
from captionseg.encoders.siglip import SiglipParams, split_patches
from captionseg.records import UserError
from captionseg.runtime.device import Runtime
from tests.captionseg.encoders.tiny_siglip import CONTEXT, VOCABULARY, save_siglip

KINDS = ("siglip", "siglip2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """kind -> folder of a model."""
    made = {kind: save_siglip(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}
    return made.get


@pytest.fixture(scope="module")
def encoder(folder):
    made = {kind: SiglipParams(folder(kind)).build(Runtime()) for kind in KINDS}
    return made.get


def squares(size: int, count: int = 2) -> list[np.ndarray]:
    return list(np.random.default_rng(1).integers(0, 255, (count, size, size, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_are_embedded_as_by_transformers(folder, encoder, kind):
    images = squares(32)
    model: Any = AutoModel.from_pretrained(folder(kind)).eval()
    inputs = AutoImageProcessor.from_pretrained(folder(kind))(
        images=[Image.fromarray(image) for image in images], return_tensors="pt"
    )
    with torch.inference_mode():
        expected = model.get_image_features(**inputs).pooler_output
    out = encoder(kind).features(images)
    assert encoder(kind).size == 32
    np.testing.assert_allclose(out.pooled, normalise(expected.numpy()), atol=1e-5)
    np.testing.assert_array_equal(out.pooled, out.descriptor)
    assert out.dense.shape == (2, 4, 4, 24)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_embedded_as_by_transformers(folder, encoder, kind):
    texts = ["a photo of a dog", "grass"]
    model: Any = AutoModel.from_pretrained(folder(kind)).eval()
    tokens = AutoTokenizer.from_pretrained(folder(kind))(
        texts,
        padding="max_length",
        padding_side="right",
        truncation=True,
        max_length=CONTEXT,
        return_tensors="pt",
    )
    with torch.inference_mode():
        expected = model.get_text_features(input_ids=tokens["input_ids"]).pooler_output
    np.testing.assert_allclose(encoder(kind).text(texts), normalise(expected.numpy()), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_in_lower_case_and_padded_at_their_end_and_what_is_cut_is_said(
    encoder, kind, caplog
):
    remarks.forget()
    words = [["a", "dog"], ["a", "very", "large", "herd", "of", "a", "dog"]]
    letters = [[*"a▁dog"], [*"a▁very▁"]]
    tokens = encoder(kind).tokens(["A Dog", "a VERY large herd of a dog, a dog"])
    for row, read in zip(tokens, words if kind == "siglip" else letters, strict=True):
        expected = [*read, "<eos>"] + ["<pad>"] * (CONTEXT - len(read) - 1)
        assert encoder(kind).tokenizer.convert_ids_to_tokens(row) == expected
    (message,) = caplog.messages
    assert "1 text is longer than the 8 tokens" in message
    assert "a very large herd of a dog, a dog" in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_alone_is_pooled_to_its_cell_of_the_map(encoder, kind):
    """The pooling head of one token can attend to nothing else."""
    vision, seen = encoder(kind).model.vision_model, []
    hook = vision.post_layernorm.register_forward_hook(lambda *args: seen.append(args[2]))
    dense = encoder(kind).towers(255.0 * torch.rand(1, 3, 32, 32))[1]
    hook.remove()
    alone = vision.head(seen[0][0][:, None])
    torch.testing.assert_close(dense.flatten(0, 2), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_where_all_tokens_are_the_same_each_is_the_image(folder, kind):
    made = SiglipParams(folder(kind)).build(Runtime())
    made.model.vision_model.embeddings.position_embedding.weight.zero_()
    pooled, dense = made.towers(torch.full((1, 3, 32, 32), 90.0))
    for cell in dense.flatten(0, 2):
        torch.testing.assert_close(cell, pooled[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_any_size_have_a_cell_a_patch(encoder, kind):
    pixels = 255.0 * torch.rand(2, 3, 45, 31)
    pooled, dense = encoder(kind).towers(pixels)
    assert (pooled.shape, dense.shape) == ((2, 24), (2, 5, 3, 24))
    for found, expected in zip(
        encoder(kind).towers(pixels[:, :, :40, :24]), (pooled, dense), strict=True
    ):
        torch.testing.assert_close(found, expected)
    with pytest.raises(UserError, match="a picture of 40 x 7 pixels is smaller than a patch of 8"):
        encoder(kind).towers(torch.zeros(1, 3, 40, 7))


def test_an_oblong_picture_is_that_of_the_processor_of_naflex(folder, encoder):
    """48 x 24 pixels are 6 x 3 patches of the 18 that it may have."""
    image = np.random.default_rng(0).integers(0, 255, (48, 24, 3), dtype=np.uint8)
    model: Any = AutoModel.from_pretrained(folder("siglip2")).eval()
    inputs = AutoImageProcessor.from_pretrained(folder("siglip2"))(
        images=Image.fromarray(image), max_num_patches=18, return_tensors="pt"
    )
    assert inputs["spatial_shapes"].tolist() == [[6, 3]]
    with torch.inference_mode():
        expected = model.get_image_features(**inputs).pooler_output
    found, dense = encoder("siglip2").towers(torch.from_numpy(image).permute(2, 0, 1)[None].float())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert dense.shape == (1, 6, 3, 24)


def test_patches_in_the_order_of_siglip_2_by_hand():
    """A picture of 2 x 4 pixels, channels 0, 100 and 200 and the number of the pixel."""
    pixels = torch.arange(8.0).view(1, 1, 2, 4) + torch.tensor([0.0, 100, 200])[None, :, None, None]
    first, second = split_patches(pixels, 2)[0].tolist()
    assert first == [0, 100, 200, 1, 101, 201, 4, 104, 204, 5, 105, 205]
    assert second == [2, 102, 202, 3, 103, 203, 6, 106, 206, 7, 107, 207]


def test_its_sigmoid_gives_the_logits_of_transformers(folder, encoder):
    model: Any = AutoModel.from_pretrained(folder("siglip")).eval()
    made, image, text = encoder("siglip"), squares(32, 1), ["a dog", "a cat"]
    pixels = AutoImageProcessor.from_pretrained(folder("siglip"))(images=image, return_tensors="pt")
    with torch.inference_mode():
        out = model(input_ids=made.tokens(text), pixel_values=pixels["pixel_values"])
    cosine = made.features(image).pooled @ made.text(text).T
    np.testing.assert_allclose(
        made.sigmoid.scale * cosine + made.sigmoid.bias, out.logits_per_image, atol=1e-4
    )


def test_another_size_of_the_input(folder):
    made = SiglipParams(folder("siglip2"), size=48).build(Runtime())
    assert made.features(squares(20)).dense.shape == (2, 6, 6, 24)


def test_texts_that_are_changed_inside_need_another_encoder(encoder):
    with pytest.raises(
        UserError, match=r"siglip has a text encoder that reads padding; .* use open"
    ):
        encoder("siglip").text_tower  # noqa: B018


def refused(message: str, folder: Path | str, **params) -> None:
    with pytest.raises(UserError, match=message) as caught:
        SiglipParams(str(folder), **params).build(Runtime())
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_none_or_of_another_model_is_one_line(folder, tmp_path):
    refused("siglip.folder: no config.json in ", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    refused("is a bert, not one of siglip, siglip2", tmp_path)
    refused("size: 20 is not a multiple of 8", folder("siglip"), size=20)


@pytest.mark.parametrize("damage", ["weights", "tokenizer", "vocabulary", "width", "layers"])
def test_a_damaged_folder_is_one_line(folder, tmp_path, damage):
    shutil.copytree(folder("siglip"), tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    message = "does not load as a siglip2: "
    if damage == "weights":
        (tmp_path / "model.safetensors").write_bytes(b"torn")
    elif damage == "tokenizer":
        (tmp_path / "tokenizer.json").write_text("{")
    elif damage == "vocabulary":
        config["text_config"]["vocab_size"], message = (
            30,
            "the shape of .*text_model.embeddings.* does not match config.json",
        )
    elif damage == "width":
        config["text_config"]["projection_size"], message = (
            20,
            "the shape of .*text_model.head.* does not match config.json",
        )
    else:
        config["vision_config"]["num_hidden_layers"], message = 3, "lacks .* tensors, such as visi"
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(message, tmp_path)


def test_the_tokenizer_of_another_model_is_one_line(tmp_path):
    refused(
        f"a tokenizer of {VOCABULARY} tokens, but the text encoder knows 64; it is that of",
        save_siglip("siglip", tmp_path, vocab_size=64),
    )
