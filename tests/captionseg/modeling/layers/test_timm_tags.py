"""Tags of timm's weights: which a path names, and how pixels are normalised then."""

from __future__ import annotations

import pytest

from captionseg.modeling.layers.timm_tags import check_tag, find_tag_pixels, is_tag, narrow_tags


def test_a_tag_in_the_path_says_how_pixels_are_normalised():
    """DINOv3 of satellites by Meta's name of its file."""
    path = "/data/dinov3_vitl16_pretrain_sat493m-eadcf0ff.pth"
    found = find_tag_pixels("vit_large_patch16_dinov3", path)
    assert found is not None
    assert found["mean"] == pytest.approx((0.43, 0.411, 0.296))
    assert find_tag_pixels("vit_large_patch16_dinov3", "/data/model.pth") is None
    assert find_tag_pixels("vit_large_patch16_dinov3.lvd1689m", path) is None


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("lvd1689m", True), ("a.pth", False), ("/a/b", False), ("", False), ("packaged", False)],
)
def test_a_path_is_no_tag(weights, expected):
    assert is_tag(weights) == expected


def test_the_longest_tag_that_a_path_names_is_taken():
    tags = ["openai", "openai_ft_in1k", "v2_webli", "webli"]
    assert narrow_tags(tags, "/x/vit.openai_ft_in1k/model.safetensors") == ["openai_ft_in1k"]
    assert narrow_tags(tags, "webli") == ["webli"]
    assert narrow_tags(tags, "/x/v2_webli.safetensors") == ["v2_webli"]
    assert narrow_tags(tags, "/x/model.safetensors") == tags


def test_an_unknown_tag_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"no weights 'x' of vit_small_patch16_dinov3 \(tags: lvd"):
        check_tag("vit_small_patch16_dinov3.x")
    check_tag("vit_small_patch16_dinov3")
