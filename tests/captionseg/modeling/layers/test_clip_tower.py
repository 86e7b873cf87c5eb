"""A tower of open_clip among those of timm: the same as the whole CLIP, from its file; names that
are none.
"""

from __future__ import annotations

import json

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from captionseg.grids import MEAN, STD
from captionseg.modeling.layers.backbone import BackboneBlocks, Network, probe_network
from captionseg.modeling.towers.frozen_towers import FrozenTowers
from captionseg.modeling.weights.pretrained import load_frozen_blocks
from captionseg.records import UserError

TINY = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A random CLIP that open_clip lists as tiny-tower, and the file of its weights."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-tower.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    model = open_clip.CLIP(24, TINY["vision_cfg"], TINY["text_cfg"], quick_gelu=True).eval()
    save_file(model.state_dict(), folder / "clip.safetensors")
    return model, folder / "clip.safetensors"


def test_maps_and_cls_are_those_of_the_whole_model(clip):
    model, path = clip
    image = torch.randn(2, 3, 32, 32)
    tower = load_frozen_blocks(Network("open_clip:tiny-tower", str(path), 2))
    seen = tower(image)
    own = image * tower.factor + tower.shift
    expected = model.visual.forward_intermediates(own, indices=2)
    assert [tuple(x.shape) for x in seen.maps] == [(2, 4, 4, 32)] * 2
    for found, wanted in zip(seen.maps, expected["image_intermediates"], strict=True):
        torch.testing.assert_close(found, wanted.permute(0, 2, 3, 1))
    torch.testing.assert_close(seen.cls @ model.visual.proj, model.encode_image(own))
    mean, given, deviation = (torch.tensor(v) for v in (open_clip.OPENAI_DATASET_MEAN, MEAN, STD))
    # CLIP's mean colour, normalised by ImageNet's statistics
    grey = ((mean - given) / deviation)[:, None, None]
    torch.testing.assert_close(
        grey * tower.factor + tower.shift, torch.zeros(3, 1, 1), atol=1e-6, rtol=0
    )


def test_it_stands_beside_a_network_of_timm_on_pictures_of_another_size(clip, networks):
    both = FrozenTowers(
        (Network("open_clip:tiny-tower", str(clip[1])), networks[0]), crop=64, cell=16
    )
    assert both.widths == ([32, 32, 32], [64, 64, 64])
    assert both.multiple == 16
    clip_seen, _ = both(torch.randn(1, 3, 64, 96))
    assert [tuple(x.shape[1:3]) for x in clip_seen.maps] == [(8, 12)] * 3
    assert not any(p.requires_grad for p in both.loaded[0].module.parameters())


def test_sizes_are_known_without_weights(clip):
    assert probe_network(Network("open_clip:tiny-tower", blocks=1), 64) == ([32], 8)
    assert next(BackboneBlocks(Network("open_clip:tiny-tower")).parameters()).device.type == "cpu"


def test_what_is_no_tower_is_one_line(clip, tmp_path):
    with pytest.raises(ValueError, match="open_clip has no 'ViT-Z'"):
        BackboneBlocks(Network("open_clip:ViT-Z"))
    with pytest.raises(ValueError, match="RN50 is no ViT of CLIP's form"), torch.device("meta"):
        BackboneBlocks(Network("open_clip:RN50"))
    weights = {k: v for k, v in clip[0].state_dict().items() if k != "visual.ln_post.bias"}
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(UserError, match=r"no tensor visual\.ln_post\.bias"):
        load_frozen_blocks(Network("open_clip:tiny-tower", str(tmp_path / "less.safetensors")))
