"""Protocols of the papers, against the numbers that they give."""

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from captionseg.benchmarks import EvaluateParams
from captionseg.inference.protocols import PROTOCOLS, applied, resolved
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol, WindowParams
from captionseg.modeling import GroupViT, GroupViTConfig, groupvit_tiny
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.records import UserError
from captionseg.segmenters import MasksParams
from captionseg.text.prompts import templates
from captionseg.typed import build


def test_the_numbers_of_the_papers():
    groupvit, tcl, use = (PROTOCOLS[name] for name in ("groupvit", "tcl", "use"))
    for preset in (groupvit, tcl):
        assert preset.asked.windows == WindowParams(448, 448, 224)
    assert (groupvit.background, tcl.background, use.background) == (0.95, 0.4, None)
    assert [p.asked.refine and p.asked.refine.method for p in (groupvit, tcl, use)] == [
        "none",
        "pamr",
        "none",
    ]
    assert tcl.asked.refine == RefineParams("pamr", 112, 10, [1, 2, 4, 8, 12, 24])
    assert use.asked.masks == MasksParams("hierarchy", "sum")
    assert [len(templates(p.prompts)) for p in (groupvit, tcl, use)] == [1, 9, 80]
    for name, preset in PROTOCOLS.items():
        assert preset.asked.name == name
        assert "et al." in preset.source


def test_every_preset_may_be_asked_for():
    literal = get_args(get_type_hints(EvaluateParams)["protocol"])[0]
    assert set(get_args(literal)) == set(PROTOCOLS)
    assert build(EvaluateParams, {"protocol": "tcl"}, "evaluate").asked == PROTOCOLS["tcl"].asked
    with pytest.raises(UserError, match=r"evaluate\.protocol: 'tlc' is not valid"):
        build(EvaluateParams, {"protocol": "tlc"}, "evaluate")
    assert EvaluateParams().asked == Protocol()


def test_what_is_given_comes_before_what_the_paper_says():
    asked = resolved("tcl", Protocol(WindowParams(batch=3)))
    assert asked == replace(PROTOCOLS["tcl"].asked, windows=WindowParams(448, 448, 224, 3))
    windows, refine, masks = (
        WindowParams(512, 224, 112),
        RefineParams("segments"),
        MasksParams(aggregate="max"),
    )
    assert resolved("tcl", Protocol(windows, refine, masks)) == Protocol(
        windows, refine, masks, "tcl"
    )


def test_groups_infer_as_published():
    preset = groupvit_tiny()
    encoder = replace(preset.towers.encoder, size=32, width=48, depths=[1, 1])
    net = GroupViT(
        replace(
            preset,
            towers=replace(preset.towers, encoder=encoder),
            zero_shot=ZeroShot(background=0.7),
        )
    )
    assert applied(net, "tcl", "segment", background=True) == ("tcl", [])
    assert net.config.zero_shot == ZeroShot(background=0.7)
    assert applied(net, "groupvit", "segment", background=True) == ("simple", [])
    assert net.config.zero_shot == ZeroShot("groups", "product", 5, "soft", 0.7)
    assert applied(net, "use", "segment", background=True) == (
        "imagenet",
        ["masks: it reads no segments"],
    )
    assert isinstance(net.config, GroupViTConfig)
