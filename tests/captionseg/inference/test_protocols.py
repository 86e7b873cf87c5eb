"""Protocols of the papers, against the numbers that they give."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from captionseg.benchmarks.params import EvaluateParams
from captionseg.inference.protocols import (
    PROTOCOLS,
    ScoringOptions,
    apply_preset,
    choose_background,
    merge_with_preset,
    published_background,
    resolve_protocol,
)
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Background, Protocol, ResolvedProtocol, WindowParams
from captionseg.modeling.groupvit import GroupViT, groupvit_tiny
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.segmenter import InputSpec
from captionseg.modeling.tcl_config import GroundingChoices
from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.text.prompts import read_templates
from captionseg.typed import build


def test_the_numbers_of_the_papers():
    groupvit, tcl, use = (PROTOCOLS[name] for name in ("groupvit", "tcl", "use"))
    for preset in (groupvit, tcl):
        assert preset.protocol.windows == WindowParams(448, 448, 224)
    assert (groupvit.background, tcl.background, use.background) == (0.95, 0.4, None)
    assert [p.protocol.refine and p.protocol.refine.method for p in (groupvit, tcl, use)] == [
        "none",
        "pamr",
        "none",
    ]
    assert tcl.protocol.refine == RefineParams("pamr", 112, 10, [1, 2, 4, 8, 12, 24])
    assert use.protocol.masks == MasksParams("hierarchy", "sum")
    for name, crop in (("sclip", 224), ("naclip", 224), ("proxyclip", 336)):
        preset = PROTOCOLS[name]
        assert preset.protocol.windows == WindowParams(336, crop, 112)
        assert preset.protocol.refine == RefineParams("none")
        assert len(read_templates(preset.prompts)) == 80
    assert [len(read_templates(p.prompts)) for p in (groupvit, tcl, use)] == [1, 9, 80]
    for name, preset in PROTOCOLS.items():
        assert preset.protocol.name == name
        assert "et al." in preset.source


def test_every_preset_may_be_asked_for():
    for name in PROTOCOLS:
        assert build(EvaluateParams, {"protocol": name}, "evaluate").protocol == name
    assert (
        build(EvaluateParams, {"protocol": "tcl"}, "evaluate").main_protocol
        == PROTOCOLS["tcl"].protocol
    )
    with pytest.raises(UserError, match=r"evaluate\.protocol: 'tlc' is not valid"):
        build(EvaluateParams, {"protocol": "tlc"}, "evaluate")
    assert EvaluateParams().main_protocol == Protocol()


def test_what_is_given_comes_before_what_the_paper_says():
    asked = merge_with_preset("tcl", Protocol(WindowParams(batch=3)))
    assert asked == replace(PROTOCOLS["tcl"].protocol, windows=WindowParams(448, 448, 224, 3))
    windows, refine, masks = (
        WindowParams(512, 224, 112),
        RefineParams("segments"),
        MasksParams(aggregate="max"),
    )
    assert merge_with_preset("tcl", Protocol(windows, refine, masks)) == Protocol(
        windows, refine, masks, name="tcl"
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
    own, published = (ZeroShot(background=0.7), ZeroShot("groups", "product", 5, "soft", 0.7))
    assert apply_preset(net, "tcl", "segment", background=True) == ("tcl", own, [])
    assert apply_preset(net, "groupvit", "segment", background=True) == ("simple", published, [])
    assert apply_preset(net, "use", "segment", background=True) == (
        "imagenet",
        own,
        ["masks: it reads no segments"],
    )
    assert net.config.zero_shot == own  # nothing of a model is changed


def stub(choices: ZeroShot | GroundingChoices | None) -> SimpleNamespace:
    """A model with these choices of inference, or with none."""
    model = SimpleNamespace(config=SimpleNamespace(reads=InputSpec()), segment=print, label=print)
    return model if choices is None else SimpleNamespace(**vars(model), zero_shot=choices)


@pytest.mark.parametrize(
    ("saved_score", "wanted", "given", "policy", "left"),
    [
        (None, True, None, Background("word"), None),
        (0.4, True, None, Background("threshold", 0.4), 0.4),
        (0.4, True, 0.9, Background("threshold", 0.9), 0.9),
        # a model's threshold means nothing where no class is background
        (0.4, False, None, Background("none"), None),
        (0.0, True, None, Background("threshold", 0.0), 0.0),
        # where classes are not known yet, what is below the threshold is none of them
        (0.4, None, None, Background("threshold", 0.4), 0.4),
        (0.4, None, 0.9, Background("threshold", 0.9), 0.9),
        (None, None, None, Background("none"), None),
    ],
)
def test_policies_of_models_with_a_threshold(saved_score, wanted, given, policy, left):
    model = stub(ZeroShot(background=saved_score))
    assert choose_background(model.zero_shot, wanted, given) == policy
    options = ScoringOptions(background=given)
    found = resolve_protocol(model, ResolvedProtocol(), options, background_class=wanted)
    assert (found.background, found.zero_shot.background) == (policy, left)


def test_policies_of_models_without():
    assert choose_background(None, True, None) == Background("word")
    assert choose_background(None, True, 0.2) == Background("constant", 0.2)
    assert choose_background(None, False, None) == Background()
    with pytest.raises(UserError, match="--background: this benchmark has no background class"):
        choose_background(None, False, 0.2)
    options = ScoringOptions(background=0.2)
    found = resolve_protocol(stub(None), ResolvedProtocol(), options, background_class=True)
    assert (found.zero_shot, found.choices) == (None, ())


@pytest.mark.parametrize(
    ("name", "threshold", "choices", "score"),
    [
        ("groupvit", 0.35, ZeroShot(), 0.35),
        ("groupvit", None, ZeroShot(), 0.95),
        ("groupvit", 0.35, GroundingChoices(), None),
        ("groupvit", 0.35, None, None),
        ("tcl", 0.95, GroundingChoices(), 0.4),
        ("tcl", 0.95, ZeroShot(), 0.4),
        ("tcl", 0.95, None, None),
        ("use", 0.95, ZeroShot(), None),
    ],
)
def test_the_threshold_of_a_protocol(name, threshold, choices, score):
    """GroupViT's are those of the benchmark, and mean nothing to scores of another kind."""
    options = ScoringOptions(Protocol(name=name), threshold=threshold)
    found, missing = published_background(choices, options)
    assert found == score
    assert bool(missing) == (score is None and name != "use")
