"""Chosen parts whose licence forbids commercial use are said, by check-params and by the stage that
loads them; the default run has none.
"""

from __future__ import annotations

import logging

import pytest
import timm

from captionseg.captioners.captioners import CAPTIONERS
from captionseg.checks.licences import (
    ALLOWING,
    FORBIDDING,
    LICENCES,
    find_open_clip_licences,
    find_tower_licences,
    list_forbidding,
    list_unknown,
)
from captionseg.encoders.encoders import ENCODERS
from captionseg.grounding.grounders import GROUNDERS
from captionseg.modeling.models import MODELS
from captionseg.segmenters.mask_makers import MASK_MAKERS
from captionseg.segmenters.region_makers import REGION_MAKERS
from captionseg.segmenters.segmenters import SEGMENTERS
from captionseg.sources.sources import SOURCES
from stages.run import say_licences
from tests.captionseg.real_params import changed

FAMILIES = {
    "download": set(SOURCES),
    "caption": {"none", *CAPTIONERS},
    "index": {*ENCODERS} - {"open_clip"},
    "regions": set(REGION_MAKERS),
    "grounder": set(GROUNDERS),
    "segmenter": {"none", *SEGMENTERS},
    "masks": {"regions", *MASK_MAKERS},
}
RECIPE = {"curation": "cocu", "archive": "cocu"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_member_has_a_licence(family):
    assert set(LICENCES[family]) == FAMILIES[family]


def test_models_with_weights_of_their_own_are_models():
    assert set(LICENCES["model"]) <= set(MODELS)


def test_the_default_run_has_nothing_to_say(tmp_path):
    params = changed(tmp_path, {})
    assert [*list_forbidding(params), *list_unknown(params)] == []


TOWER = {"name": "vit_base_patch16_dinov3_qkvb"}


@pytest.mark.parametrize(
    ("changes", "stage", "says"),
    [
        (
            {"index.encoder": "open_clip", "index.open_clip.pretrained": "metaclip_400m"},
            "index",
            "index.open_clip: ViT-B-16 metaclip_400m has the licence cc-by-nc-4.0, which forbids "
            "commercial use",
        ),
        (
            {"download.source": "coco_captions"},
            "download",
            "download.source: coco_captions has the licence CC BY 4.0 (captions), each picture's "
            "own at Flickr, some of which forbid commercial use",
        ),
        (
            {
                "recipes.a": RECIPE
                | {
                    "model": "use",
                    "settings": {"networks": [TOWER | {"weights": "eupe_lvd1689m"}], "cell": 16},
                }
            },
            "pretrain",
            "recipes.a: vit_base_patch16_dinov3_qkvb eupe_lvd1689m has the licence "
            "fair-noncommercial-research-license, which forbids commercial use",
        ),
    ],
)
def test_a_licence_that_forbids_commercial_use_is_said(tmp_path, caplog, changes, stage, says):
    params = changed(tmp_path, changes)
    assert list(list_forbidding(params)) == [says]
    assert list(list_unknown(params)) == []
    with caplog.at_level(logging.WARNING):
        say_licences("regions", params, "")
        say_licences("pretrain", params, "nouns-mil")
        assert caplog.messages == []
        say_licences(stage, params, "a" if stage == "pretrain" else "")
    assert caplog.messages == [says]


def test_what_is_not_known_is_said_by_the_check_alone(tmp_path):
    changes = {
        "caption.captioner": "chat",
        "index.encoder": "open_clip",
        "index.open_clip.pretrained": "/data/weights.pt",
    }
    params = changed(tmp_path, changes)
    assert list(list_forbidding(params)) == []
    assert list(list_unknown(params)) == [
        "caption.captioner: the licence of chat is not known here; read its card",
        "index.open_clip: the licence of ViT-B-16 /data/weights.pt depends on the weights "
        "(apple-ascl or cc-by-nc-4.0 or mit); read their card",
    ]


@pytest.mark.parametrize(
    ("model", "weights", "licences"),
    [
        ("ViT-B-16", "openai", ("mit",)),
        ("ViT-B-16", "/hub/ViT-B-16-laion2B/laion2b_s34b_b88k.safetensors", ("mit",)),
        ("ViT-L-14", "dfn2b_s39b", ("apple-ascl",)),
        ("ViT-B-16-SigLIP2", "/data/any.safetensors", ("apache-2.0",)),
        ("PE-Core-L-14-336", "meta", ("apache-2.0",)),
        ("EVA02-L-14", "/data/any.pt", ("mit",)),
        ("MobileCLIP2-B", "dfndr2b", ("apple-amlr",)),
        ("nobody", "x", ()),
    ],
)
def test_licences_of_open_clip(model, weights, licences):
    assert find_open_clip_licences(model, weights) == licences


@pytest.mark.parametrize(
    ("name", "weights", "licences"),
    [
        ("vit_base_patch16_dinov3", "/data/model.safetensors", ("dinov3-license",)),
        ("vit_base_patch16_dinov3_qkvb", "/x/lvd1689m.pth", ("dinov3-license",)),
        ("vit_base_patch16_dinov3_qkvb", "/x/eupe_lvd1689m/a.pth", (list(FORBIDDING)[2],)),
        ("vit_base_patch16_dinov3_qkvb", "/x.pth", ("dinov3-license", list(FORBIDDING)[2])),
        ("vit_large_patch14_dinov2", "/x.pth", ("apache-2.0",)),
        ("vit_base_patch16_siglip_256.v2_webli", "/x.pth", ("apache-2.0",)),
        ("open_clip:EVA02-L-14", "/x.pt", ("mit",)),
        ("nobody", "/x.pt", ()),
    ],
)
def test_licences_of_towers(name, weights, licences):
    assert find_tower_licences(name, weights) == licences


def test_timm_agrees_on_open_clips_weights():
    """timm has the image towers of many of open_clip's models and their licences."""
    import open_clip

    compared, known = 0, set(timm.list_pretrained())
    for model, tag in open_clip.list_pretrained():
        hub = open_clip.pretrained.get_pretrained_cfg(model, tag).get("hf_hub", "")
        name = hub.strip("/").removeprefix("timm/")
        if name in known and (licence := timm.get_pretrained_cfg(name).license):
            compared += 1
            own = find_open_clip_licences(model, tag)[0]
            assert (own in FORBIDDING) == (licence in FORBIDDING), name
            assert {own, licence} <= {*ALLOWING, *FORBIDDING}
    assert compared > 10
