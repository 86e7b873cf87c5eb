"""TIPSv2: as transformers' own processor and model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from captionseg.encoders.encoder import normalise
from captionseg.encoders.tips import TipsParams
from captionseg.records import UserError
from captionseg.runtime.device import Runtime


def test_pictures_are_embedded_as_by_transformers(build, tiny_tips):
    images = list(np.random.default_rng(1).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8))
    model: Any = AutoModel.from_pretrained(tiny_tips).eval()
    pictures = [Image.fromarray(image) for image in images]
    inputs = AutoImageProcessor.from_pretrained(tiny_tips)(images=pictures, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_image_features(**inputs)
    out = build("tips").features(images)
    np.testing.assert_allclose(out.pooled, normalise(expected.pooler_output.numpy()), atol=1e-5)
    # a class token and a second one, then 4 x 4 patches
    assert expected.last_hidden_state.shape[1] == 2 + 16
    patches = expected.last_hidden_state[:, 2:].numpy()
    np.testing.assert_allclose(out.dense.reshape(2, 16, 24), patches, atol=1e-5)


def test_texts_are_embedded_as_by_transformers(build, tiny_tips):
    texts = ["a dog", "cat"]
    model: Any = AutoModel.from_pretrained(tiny_tips).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_tips)(
        texts, padding="max_length", truncation=True, max_length=8, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = model.get_text_features(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
        ).pooler_output
    np.testing.assert_allclose(build("tips").text(texts), normalise(expected.numpy()), atol=1e-5)
    np.testing.assert_allclose(build("tips").text(["A DOG"]), build("tips").text(["a dog"]))
    assert np.isfinite(build("tips").text([""])).all()


def test_pictures_of_any_size_have_a_cell_a_patch(build, tiny_tips):
    pixels = 255.0 * torch.rand(2, 3, 45, 31)
    assert build("tips").towers(pixels)[1].shape == (2, 5, 3, 24)
    with pytest.raises(UserError, match="a picture of 40 x 7 pixels is smaller than a patch of 8"):
        build("tips").towers(torch.zeros(1, 3, 40, 7))
    with pytest.raises(UserError, match="size: 20 is not a multiple of 8"):
        TipsParams(tiny_tips, size=20).build(Runtime())


def test_another_model_is_one_line(tiny_siglip, tmp_path):
    with pytest.raises(UserError, match=r"tips.folder: .* is a siglip2, not one of tipsv2$"):
        TipsParams(tiny_siglip).build(Runtime())
    with pytest.raises(UserError, match=r"tips.folder: no config.json in .* of a tipsv2$"):
        TipsParams(str(tmp_path)).build(Runtime())
