"""Released weights of CLIP: activation, pixels and sizes are those of the tag or the file."""

from __future__ import annotations

import json
import warnings

import open_clip
import pytest
import torch
from open_clip.pretrained import _PRETRAINED, get_pretrained_cfg
from safetensors.torch import save_file

from captionseg.encoders import open_clip_releases, open_clip_weights
from captionseg.encoders.clip_file import OPENAI_PIXELS, read_clip
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.records import UserError
from tests.captionseg.encoders.test_clip_file import (  # noqa: F401  twins is for every test
    TINY,
    build,
    random_model,
    refused,
    state_of,
    twins,
    write,
)


def test_pixels_are_normalised_as_the_file_says(tmp_path):
    path = write(tmp_path, "open_clip", state_of(random_model(True)), quick=True)
    config = {
        "model_cfg": TINY | {"quick_gelu": True},
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [1, 2, 3]},
    }
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    encoder = build(path)
    assert (encoder.mean.tolist(), encoder.std.tolist()) == (
        [0.5, pytest.approx(0.4), pytest.approx(0.3)],
        [1, 2, 3],
    )
    assert build(path, normalise="none").std.tolist() == [1, 1, 1]
    (tmp_path / "open_clip_config.json").unlink()
    named = path.rename(tmp_path / "quickgelu.safetensors")
    assert build(named).mean.tolist() == pytest.approx(OPENAI_PIXELS[0])


def test_where_released_weights_of_a_model_differ_their_pixels_are_asked_for(tmp_path):
    """LAION-2B's ViT-L-14 has other pixels than the rest: a file of either kind is not told
    apart."""
    file = read_clip(write(tmp_path, "metadata", state_of(random_model(False)), quick=False))
    large = OpenClipParams("ViT-L-14", "x.pt")
    with pytest.raises(
        UserError, match=r"set index.open_clip.normalise: openai or inception or imagenet or none"
    ):
        open_clip_weights.normalisation(large, file, {}, False)
    assert open_clip_weights.normalisation(large, file, {}, True).mean == OPENAI_PIXELS[0]


@pytest.mark.parametrize(
    "place",
    [
        "vit_l_14-laion400m_e32-3d133497.pt",
        "b16_400m.pt",
        "models--laion--CLIP-ViT-L-14-laion2B-s32B-b82K/snapshots/1/model.safetensors",
    ],
)
def test_files_of_the_hub_are_known_by_their_place(tmp_path, place):
    model = "ViT-B-16" if place.startswith("b16") else "ViT-L-14"
    tag = open_clip_releases.find_release(tmp_path / place, model)
    assert bool(tag.get("quick_gelu")) == place.startswith("b16")
    assert tag["mean"][0] == (0.5 if "laion2B" in place else OPENAI_PIXELS[0][0])
    # anybody's file may have this name
    assert open_clip_releases.find_release(tmp_path / "ViT-L-14.pt", "ViT-L-14") is None


def test_every_tag_has_its_activation_and_its_pixels(tmp_path, monkeypatch):
    """Every tag of open_clip, with the network out: what the model is built with is what the tag
    says.
    """
    path = tmp_path / "weights.safetensors"
    save_file({"logit_scale": torch.ones(())}, path)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda *_, **__: str(path))
    built = []

    def note(params, quick, pixels):
        built.append((quick, pixels))
        raise UserError("enough")

    monkeypatch.setattr(open_clip_weights, "build_empty", note)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model, tags in _PRETRAINED.items():
            for tag in tags if model in open_clip.list_models() else ():
                with pytest.raises(UserError, match="enough"):
                    open_clip_weights.load(OpenClipParams(model, tag))
                given = get_pretrained_cfg(model, tag)
                # of which there is one model
                quick = bool(given.get("quick_gelu")) or model == "roberta-ViT-B-32"
                assert built.pop() == (quick, (tuple(given["mean"]), tuple(given["std"]))), (
                    model,
                    tag,
                )


def test_a_tag_that_cannot_be_downloaded_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(open_clip, "download_pretrained", fail)
    with pytest.raises(
        UserError,
        match="cannot download the weights of ViT-B-16, openai: no network; give the path",
    ):
        open_clip_weights.load(OpenClipParams("ViT-B-16", "openai"))


def test_positions_are_resized_only_when_asked_for(tmp_path):
    large = TINY | {"vision_cfg": TINY["vision_cfg"] | {"image_size": 48}}
    path = tmp_path / "quickgelu.safetensors"
    save_file(state_of(open_clip.CLIP(**large)), path)
    refused("for pictures of 48 pixels, but twin takes 32; .*index.open_clip.size: 48", path)
    assert build(path, size=48).size == 48
    assert build(path, size=64).model.visual.grid_size == (8, 8)
    refused("size: 50 is not a multiple of 8, the patch size of twin", path, size=50)


def test_texts_of_another_length_are_refused(tmp_path):
    longer = TINY | {"text_cfg": TINY["text_cfg"] | {"context_length": 20}}
    path = tmp_path / "quickgelu.safetensors"
    save_file(state_of(open_clip.CLIP(**longer)), path)
    refused(r"positional_embedding is \[20, 16\], expected \[16, 16\]", path)
