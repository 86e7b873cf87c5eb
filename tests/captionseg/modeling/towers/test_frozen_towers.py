"""USE on pictures: towers of several grids against the naive form, frozen, padded; masks where the
picture lies.
"""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from captionseg.encoders.dense_head import HeadConfig
from captionseg.grids import MEAN, STD
from captionseg.modeling.layers.backbone import BackboneBlocks, Network, probe_network
from captionseg.modeling.models import PRESETS
from captionseg.modeling.segmenter import Sizes, Start
from captionseg.modeling.towers.frozen_towers import resize_and_pad
from captionseg.modeling.use import Use, make_region_masks
from captionseg.modeling.use_config import UseConfig
from captionseg.modeling.weights.pretrained import load_frozen_blocks
from captionseg.prepared import pixel_inputs
from captionseg.records import UserError
from tests.captionseg.modeling import tiny_towers  # noqa: F401 (registers them)
from tests.captionseg.modeling.conftest import DENSE, TEXT
from tests.captionseg.modeling.layers.test_merging import naive

SIZES = Sizes(texts=TEXT, head=HeadConfig(DENSE, TEXT))


@pytest.fixture
def fresh(networks):
    """Changed fields of the config -> a model on two towers."""

    def make(**changes) -> Use:
        torch.manual_seed(0)
        return Use(
            UseConfig(**{"networks": networks, "crop": 64, "cell": 16, **changes}).with_sizes(SIZES)
        ).eval()

    return make


def test_the_published_model_has_the_published_size():
    """Eq. of section 3.3: 24 and 6 LLN of 1024 with a scale each, a head of 4 x 1024 to 768: 34.7 M
    trained.
    """
    config = PRESETS["use_paper"]()
    assert (config.crop, config.logit_scale, config.prompts) == (560, 30.0, "segment")
    assert config.reads.cells == 40
    with torch.device("meta"):
        net = Use(config.with_sizes(Sizes(texts=768)))
    lln = 2 * 1024 + 1024 * 1024 + 1024
    assert (
        sum(p.numel() for p in net.parameters())
        == 30 * (lln + 1) + 4 * 1024 * 768 + 768
        == 34_695_966
    )
    assert net.frozen_towers.widths == ([1024] * 24, [1024] * 6)
    assert net.frozen_towers.multiple == 14
    with pytest.raises(UserError, match="vit_large_patch14_clip_quickgelu_336 has no weights"):
        net.start(Start(torch.zeros(0, 0)))


def test_pooled_then_concatenated_is_the_naive_form(fresh, networks):
    """Every pixel's cell with all towers' vectors first, then the mean over segments, then the
    head.
    """
    net, image, masks = fresh(), torch.randn(2, 3, 64, 64), torch.rand(2, 5, 4, 4)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    seen = [load_frozen_blocks(network)(image) for network in networks]
    assert [[tuple(x.shape[1:]) for x in s.maps] for s in seen] == [
        [(4, 4, 64)] * 3,
        [(4, 4, 192), (2, 2, 96)],
    ]
    expected = naive(net.encoder, [s.maps for s in seen], masks, [s.cls for s in seen])
    torch.testing.assert_close(
        net.embed(image, masks), F.normalize(expected, dim=-1), rtol=0, atol=1e-5
    )
    # a square of the crop's side is seen as it is
    full = masks.repeat_interleave(3, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(
        net.embed_inputs(pixel_inputs(image, (9, 9)), full), net.embed(image, masks)
    )


def test_dinov3_and_siglip_in_one_model(tmp_path):
    """Patches of 16 and 14 pixels, cells of 14: maps hold patches alone, and are resized; whole
    pictures are padded to what both patches divide.
    """
    networks = []
    for name in ("tiny_dinov3", "tiny_siglip"):
        save_file(timm.create_model(name).state_dict(), tmp_path / f"{name}.safetensors")
        networks.append(Network(name, str(tmp_path / f"{name}.safetensors"), 2))
    net = Use(UseConfig(tuple(networks), crop=112, cell=14).with_sizes(SIZES)).eval()
    assert net.frozen_towers.widths == ([32, 32], [32, 32])
    assert net.frozen_towers.multiple == 112
    image, masks = torch.randn(2, 3, 112, 112), torch.rand(2, 5, 8, 8)
    seen = [load_frozen_blocks(network)(image) for network in networks]
    assert [s.maps[-1].shape[1:3] for s in seen] == [(7, 7), (8, 8)]
    expected = naive(net.encoder, [s.maps for s in seen], masks, [s.cls for s in seen])
    torch.testing.assert_close(
        net.embed(image, masks), F.normalize(expected, dim=-1), rtol=0, atol=1e-5
    )
    whole = net.embed_inputs(pixel_inputs(torch.randn(1, 3, 30, 50), (9, 9)), masks[:1])
    torch.testing.assert_close(whole.norm(dim=2), torch.ones(1, 5))


def test_towers_are_no_part_of_what_learns_or_is_saved(fresh, make_batch):
    net = fresh().train()
    net.losses(net(make_batch()))["segment"].backward()
    towers = [tower.module for tower in net.frozen_towers.loaded]
    assert not any(module.training for tower in towers for module in tower.modules())
    assert not any(
        p.requires_grad or p.grad is not None for tower in towers for p in tower.parameters()
    )
    assert {key.split(".")[0] for key in net.state_dict()} == {"encoder"}
    kept = {k: v.clone() for k, v in towers[1].net.state_dict().items()}
    net(make_batch(seed=1))
    assert all(torch.equal(v, kept[k]) for k, v in towers[1].net.state_dict().items())


def test_weights_leave_random_numbers_alone(networks):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    load_frozen_blocks(networks[0])
    assert torch.equal(torch.rand(4), expected)


def test_a_picture_keeps_its_ratio_and_is_padded_with_the_mean():
    image, there = resize_and_pad(torch.ones(1, 3, 30, 50), 60, 16)
    assert image.shape == (1, 3, 64, 112)
    assert there == (60 / 64, 100 / 112)
    assert (image[:, :, :60, :100] == 1).all()
    assert image[:, :, 60:].abs().sum() + image[:, :, :, 100:].abs().sum() == 0
    assert resize_and_pad(torch.ones(1, 3, 10, 2000), 64, 16)[0].shape == (1, 3, 16, 2048)
    square = torch.randn(1, 3, 64, 64)
    assert torch.equal(resize_and_pad(square, 64, 16)[0], square)


def test_masks_lie_on_what_is_picture(fresh):
    """30 x 50 pixels, 64 x 107 to the tower, 64 x 128 padded: the right half begins at 53.5 of 8
    cells of 16.
    """
    net, seen = fresh(), []
    net.embed = lambda image, masks: seen.append((image, masks)) or torch.zeros(len(image), 2, TEXT)
    masks = torch.zeros(1, 2, 3, 2)
    masks[:, 0, :, 1], masks[:, 1] = 1.0, 1.0
    net.embed_inputs(pixel_inputs(torch.randn(1, 3, 30, 50), (30, 50)), masks)
    image, found = seen[0]
    assert image.shape == (1, 3, 64, 128)
    expected = torch.tensor([0.0, 0.0, 0.0, 10.5 / 16, 1.0, 1.0, 11 / 16, 0.0]).expand(4, 8)
    torch.testing.assert_close(found[0, 0], expected)
    torch.testing.assert_close(found[0, 1, :, :4], torch.ones(4, 4))


def test_many_pictures_are_seen_a_few_at_a_time(fresh, monkeypatch):
    net, inputs = fresh(), pixel_inputs(torch.randn(5, 3, 48, 64), (4, 4))
    masks, whole = torch.rand(5, 3, 6, 6), []
    whole = net.embed_inputs(inputs, masks)
    monkeypatch.setattr("captionseg.modeling.use.PICTURES", 2)
    torch.testing.assert_close(net.embed_inputs(inputs, masks), whole, rtol=0, atol=1e-5)


def test_regions_of_a_whole_picture_are_labelled(fresh, make_inputs):
    net, inputs, classes = fresh(short_side=96), make_inputs(), torch.randn(5, TEXT)
    regions = net.embed_inputs(inputs, make_region_masks(inputs.labels, 4))
    expected = regions @ F.normalize(classes, dim=1).T
    torch.testing.assert_close(net.region_scores(inputs, classes), expected)
    assert not net.config.reads.windows


def test_what_vanished_is_counted_and_leaves_the_loss(fresh, make_batch):
    net, batch = fresh().train(), make_batch(drawn=[3, 3, 2, 1, 0, 3, 3, 3])
    batch.segments.masks[1, 2] *= 0.24 / batch.segments.masks[1, 2].sum()
    batch.segments.masks[2] = 0.0
    batch.segments.masks[4] = 0.0  # had no text
    outputs = net(batch)
    assert (outputs.number >= 0).sum() == 18 - 3
    net(batch)
    assert net.take_counts() == {"segments": 36.0, "segments_vanished": 6.0}
    assert net.take_counts() == {"segments": 0.0, "segments_vanished": 0.0}
    net.eval()(batch)
    assert net.take_counts()["segments"] == 0.0


def test_a_batch_with_nothing_left_has_a_loss_of_zero(fresh, make_batch):
    for duplicates in ("unique", "plain", "mask"):
        net, batch = fresh(duplicates=duplicates), make_batch()
        batch.segments.masks.zero_()
        loss = net.losses(net(batch))["segment"]
        loss.backward()
        assert loss.item() == 0.0
        assert all(p.grad is not None and not p.grad.any() for p in net.parameters())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"towers": ((2,),)}, "networks read none; give one of both"),
        ({"crop": 60}, "crop 60 must be a multiple of cell 16"),
        ({"crop": 48}, "crop 48 is no multiple of 32 pixels, a cell of test_resnet"),
        (
            {"networks": (Network("test_resnet", blocks=6),)},
            r"test_resnet, blocks: 6, .*out of range \(1 to 5\)",
        ),
        ({"networks": (Network("nobody"),)}, "timm has no model 'nobody'"),
        (
            {"networks": (Network("test_vit"),), "crop": 56, "cell": 14},
            "test_vit, blocks: 0, on pictures of 56 pixels",
        ),
    ],
)
def test_what_does_not_fit_is_refused(fresh, changes, message):
    with pytest.raises(ValueError, match=message):
        fresh(**changes)


def test_a_vector_of_the_picture_is_timms_cls(networks):
    """In the network's own statistics; other sizes than it was made for; a fresh network of the
    same weights.
    """
    pixels = torch.rand(2, 3, 48, 80)
    blocks = load_frozen_blocks(networks[0])
    seen = blocks((pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])
    net = timm.create_model("test_vit", pretrained=False, dynamic_img_size=True).eval()
    net.load_state_dict(frozen_state(networks[0]))
    with torch.no_grad():
        own = pixels - torch.tensor(net.pretrained_cfg["mean"])[:, None, None]
        own = own / torch.tensor(net.pretrained_cfg["std"])[:, None, None]
        expected = net.forward_features(own)
        maps = net.forward_intermediates(own, indices=[3, 4, 5], intermediates_only=True)
    torch.testing.assert_close(seen.cls, expected[:, 0], rtol=0, atol=1e-5)
    for mine, theirs in zip(seen.maps, maps, strict=True):
        torch.testing.assert_close(mine, theirs.movedim(1, -1), rtol=0, atol=1e-5)


def frozen_state(network: Network) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(network.weights)


def test_without_cls_it_is_the_mean_of_the_last_map(networks):
    seen = load_frozen_blocks(networks[1])(torch.randn(2, 3, 64, 96))
    expected = F.layer_norm(seen.maps[-1].mean((1, 2)), (96,))
    torch.testing.assert_close(seen.cls, expected)


def test_a_probe_knows_blocks_and_cells_and_computes_nothing():
    assert probe_network(Network("test_vit", blocks=2), 64) == ([64, 64], 16)
    assert probe_network(Network("tf_efficientnet_lite0"), 224) == ([16, 24, 40, 112, 320], 32)
    assert probe_network(Network("vit_large_patch14_reg4_dinov2", blocks=1), 560) == ([1024], 14)
    with torch.device("meta"):
        assert BackboneBlocks(Network("vit_large_patch14_reg4_dinov2")).token


def test_the_packaged_network_needs_no_file():
    """A convolutional backbone on any machine: its stages are its blocks."""
    config = UseConfig(
        networks=(Network("tf_efficientnet_lite0", "packaged"),), crop=64, cell=16
    ).with_sizes(SIZES)
    net = Use(config).eval()
    net.start(Start(torch.zeros(0, 0)))
    assert len(net.encoder.towers[0].norms) == 5
    found = net.embed(torch.randn(1, 3, 64, 64), torch.rand(1, 2, 4, 4))
    torch.testing.assert_close(found.norm(dim=2), torch.ones(1, 2))
    with pytest.raises(UserError, match="packaged are those of networks: tf_efficientnet_lite0"):
        load_frozen_blocks(Network("test_vit", "packaged"))


def test_a_config_with_networks_keeps_the_texts_of_the_data(networks):
    config = UseConfig(networks=networks, crop=64, cell=16)
    assert config.with_sizes(SIZES) == dataclasses.replace(config, text_width=TEXT)
    reads = config.reads
    assert (reads.picture, reads.dense, reads.cells, reads.labels, reads.encoder) == (
        64,
        False,
        4,
        True,
        True,
    )
