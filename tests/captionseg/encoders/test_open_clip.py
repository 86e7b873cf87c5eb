"""open_clip's encoder with a tiny random model: its space, its sizes, and what goes wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from captionseg.encoders import IndexParams, normalised
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.grids import squash
from captionseg.records import UserError
from captionseg.runtime import Runtime


def refused(message: str, **params) -> None:
    with pytest.raises(UserError, match=message) as caught:
        OpenClipParams(**params).build(Runtime())
    assert "\n" not in str(caught.value)


def test_pooled_is_the_image_embedding(build, pictures):
    encoder = build("open_clip")
    pixels = torch.from_numpy(np.stack([squash(p, 32) for p in pictures])).permute(0, 3, 1, 2) / 255.0
    mean, std = (
        torch.tensor(v)[:, None, None] for v in (encoder.model.visual.image_mean, encoder.model.visual.image_std)
    )
    with torch.inference_mode():
        expected = encoder.model.encode_image((pixels - mean) / std).numpy()
    out = encoder.features(pictures)
    np.testing.assert_allclose(out.pooled, normalised(expected), atol=1e-5)
    np.testing.assert_array_equal(out.pooled, out.descriptor)


def test_dense_are_the_patch_tokens_in_the_joint_space(build, pictures):
    encoder = build("open_clip")
    visual = encoder.model.visual
    pixels = torch.from_numpy(np.stack([squash(p, 32) for p in pictures])).permute(0, 3, 1, 2) / 255.0
    mean, std = (torch.tensor(v)[:, None, None] for v in (visual.image_mean, visual.image_std))
    visual.output_tokens = True
    try:
        with torch.inference_mode():
            tokens = visual((pixels - mean) / std)[1] @ visual.proj
    finally:
        visual.output_tokens = False
    dense = encoder.features(pictures).dense
    assert dense.shape == (3, 4, 4, 24)
    np.testing.assert_allclose(dense.reshape(3, 16, 24), tokens.numpy(), atol=1e-5)


def test_another_size_of_the_input(tiny_clip, pictures):
    encoder = OpenClipParams("tiny-test", str(tiny_clip), size=48).build(Runtime())
    assert encoder.features(pictures).dense.shape == (3, 6, 6, 24)


def test_a_safetensors_checkpoint(tiny_clip, tmp_path, build, pictures):
    state = {k: v.contiguous() for k, v in torch.load(tiny_clip, weights_only=True).items()}
    save_file(state, tmp_path / "weights.safetensors")
    encoder = OpenClipParams("tiny-test", str(tmp_path / "weights.safetensors")).build(Runtime())
    np.testing.assert_allclose(
        encoder.features(pictures).pooled, build("open_clip").features(pictures).pooled, atol=1e-6
    )


def test_the_section_builds_it(tiny_clip):
    params = IndexParams(encoder="open_clip", device="cpu", open_clip=OpenClipParams("tiny-test", str(tiny_clip)))
    assert params.build().aligned


def test_a_model_that_open_clip_does_not_have():
    refused("open_clip has no 'ViT-Q-99'", model="ViT-Q-99")


def test_a_tag_that_the_model_does_not_have():
    refused(r"no tag 'opnai' for ViT-B-16 \(tags: openai", model="ViT-B-16", pretrained="opnai")


@pytest.mark.parametrize("name", ["nowhere.pt", "folder/nowhere"])
def test_a_checkpoint_that_is_not_there(tiny_clip, tmp_path, name):
    refused("no such file: .*nowhere", model="tiny-test", pretrained=str(tmp_path / name))


def test_a_checkpoint_of_another_model(tiny_clip, tmp_path):
    torch.save({"visual.proj": torch.zeros(2, 2)}, tmp_path / "other.pt")
    refused("other.pt does not load into tiny-test", model="tiny-test", pretrained=str(tmp_path / "other.pt"))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_checkpoint_that_is_torn(tiny_clip, tmp_path, suffix):
    (tmp_path / f"torn.{suffix}").write_bytes(tiny_clip.read_bytes()[:1000])
    refused("torn.* does not load", model="tiny-test", pretrained=str(tmp_path / f"torn.{suffix}"))


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('a checkpoint ran code')",)


def test_a_checkpoint_cannot_run_code(tiny_clip, tmp_path):
    torch.save({"x": Evil()}, tmp_path / "evil.pt")
    refused("evil.pt does not load", model="tiny-test", pretrained=str(tmp_path / "evil.pt"))
