"""Models made ready: every policy of the background, prompts, and what a protocol asks of a model
that cannot.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from captionseg.benchmarks.ready import SETS, Asked, Background, published_background, ready, settle
from captionseg.encoders import Encoder, load_encoder
from captionseg.inference import Protocol, WindowParams
from captionseg.inference.protocols import PROTOCOLS, resolved
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.modeling.tcl import Grounded
from captionseg.records import UserError
from captionseg.segmenters import MasksParams
from captionseg.text.prompts import class_embeddings


@dataclass(frozen=True)
class Config:
    zero_shot: ZeroShot | Grounded = field(default_factory=ZeroShot)


@pytest.mark.parametrize(
    ("saved_score", "wanted", "given", "policy", "left"),
    [
        (None, True, None, Background("word"), None),
        (0.4, True, None, Background("threshold", 0.4), 0.4),
        (0.4, True, 0.9, Background("threshold", 0.9), 0.9),
        # a model's threshold means nothing where no class is background
        (0.4, False, None, Background("none"), None),
        (0.0, True, None, Background("threshold", 0.0), 0.0),
    ],
)
def test_policies_of_models_with_a_threshold(saved_score, wanted, given, policy, left):
    model = SimpleNamespace(config=Config(ZeroShot(background=saved_score)))
    assert settle(model, wanted, given) == policy
    assert model.config.zero_shot.background == left


def test_policies_of_models_without():
    model = SimpleNamespace(config=SimpleNamespace())
    assert settle(model, True, None) == Background("word")
    assert settle(model, True, 0.2) == Background("constant", 0.2)
    assert settle(model, False, None) == Background()
    with pytest.raises(UserError, match="--background: this benchmark has no background class"):
        settle(model, False, 0.2)


@pytest.mark.parametrize(
    ("name", "threshold", "choices", "score"),
    [
        ("groupvit", 0.35, ZeroShot(), 0.35),
        ("groupvit", None, ZeroShot(), 0.95),
        ("groupvit", 0.35, Grounded(), None),
        ("groupvit", 0.35, None, None),
        ("tcl", 0.95, Grounded(), 0.4),
        ("tcl", 0.95, ZeroShot(), 0.4),
        ("tcl", 0.95, None, None),
        ("use", 0.95, ZeroShot(), None),
    ],
)
def test_the_threshold_of_a_protocol(name, threshold, choices, score):
    """GroupViT's are those of the benchmark, and mean nothing to scores of another kind."""
    model = SimpleNamespace(config=Config(choices) if choices else SimpleNamespace())
    found, missing = published_background(model, Asked(Protocol(name=name), threshold=threshold))
    assert found == score
    assert bool(missing) == (score is None and name != "use")


NAMES = ("background", "cat", "grass")


def encoder(folder: Path) -> Callable[[], Encoder]:
    return functools.cache(lambda: load_encoder(folder / "encoder", device="cpu"))


def test_as_saved(regions, toy):
    found = ready(regions, encoder(regions), NAMES, Asked(device="cpu"))
    assert found.said == {
        "prompts": "simple",
        "refine": "none",
        "background": {"policy": "word", "score": None},
    }
    assert found.classes.shape == (3, 16)
    assert found.maker == toy.maker


def test_seven_templates(regions):
    found = ready(regions, encoder(regions), NAMES, Asked(device="cpu"), default="subset")
    assert found.said["prompts"] == "subset"
    assert len(SETS["subset"]) == 7
    want = class_embeddings(NAMES, found.frozen().text, SETS["subset"])
    np.testing.assert_allclose(found.classes.numpy(), want, atol=1e-6)
    other = ready(
        regions, encoder(regions), NAMES, Asked(device="cpu", prompts="segment"), default="subset"
    )
    assert other.said["prompts"] == "segment"
    assert not torch.equal(other.classes, found.classes)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_protocols_of_models_with_groups(groups, name):
    """The background is not prompted where a threshold makes it."""
    asked = Asked(resolved(name, Protocol()), threshold=0.75, device="cpu")
    found = ready(groups, encoder(groups), NAMES, asked)
    assert found.said["name"] == name
    assert found.said["source"] == PROTOCOLS[name].source
    assert (
        found.said["background"]
        == {
            "groupvit": {"policy": "threshold", "score": 0.75},
            "tcl": {"policy": "threshold", "score": 0.4},
            "use": {"policy": "word", "score": None},
        }[name]
    )
    assert len(found.classes) == (3 if name == "use" else 2)
    assert found.said["prompts"] == PROTOCOLS[name].prompts
    assert found.settled.masks == MasksParams()  # it reads no segments
    assert ("masks: it reads no segments" in found.said["skipped"]) == (name == "use")
    assert (found.said["windows"]["crop"] == 448) == (name != "use")


def test_what_is_asked_comes_before_the_protocol(groups):
    asked = Asked(resolved("tcl", Protocol(WindowParams(9, 8, 7))), "simple", 0.1, device="cpu")
    found = ready(groups, encoder(groups), NAMES, asked)
    assert found.said["background"] == {"policy": "threshold", "score": 0.1}
    assert (found.said["prompts"], found.said["windows"]["crop"]) == ("simple", 8)


def test_masks_mean_nothing_to_a_model_that_reads_none(groups):
    found = ready(
        groups,
        encoder(groups),
        NAMES,
        Asked(Protocol(masks=MasksParams("hierarchy")), device="cpu"),
    )
    assert (found.segments, found.masks, found.embeds) == (None, None, None)
    assert found.settled.masks == MasksParams()


def test_regions_are_made_only_where_nobody_left_them(regions):
    asked = Asked(device="cpu")
    assert ready(regions, encoder(regions), NAMES, asked, regions=False).maker is None


def test_a_folder_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file; train a model first"):
        ready(tmp_path / "none", encoder(tmp_path), NAMES, Asked(device="cpu"))


def test_a_model_that_was_saved_without_its_regions_is_one_line(regions):
    config = regions / "config.json"
    config.write_text(config.read_text().replace('"maker": "toy"', '"maker": "lost"'))
    with pytest.raises(
        UserError, match=r"not a model of this version of captionseg: config.json, context: 'lost'"
    ):
        ready(regions, encoder(regions), NAMES, Asked(device="cpu"))
