"""What the command line asks for: which file is written, whose windows and background are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from captionseg.benchmarks.command import Arguments, result_path, scoring_options
from captionseg.benchmarks.published.catalogue import PUBLISHED
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol, WindowParams
from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MasksParams


def said(**changes) -> Arguments:
    return Arguments(**({"benchmark": "voc", "bootstrap": 10, "device": "cpu"} | changes))


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({}, None),
        ({"recipe": "r"}, "reports/benchmarks/r/voc.json"),
        ({"recipe": "r", "protocol": "tcl"}, "reports/benchmarks/r/voc@tcl.json"),
        ({"recipe": "r", "limit": 3}, None),
        ({"recipe": "r", "limit": 3, "out": Path("x.json")}, "x.json"),
        ({"out": Path("x.json")}, "x.json"),
    ],
)
def test_where_the_result_goes(changes, path):
    """A part of a benchmark never takes the place of the whole."""
    assert result_path(said(**changes), Path("reports/benchmarks")) == (path and Path(path))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"limit": -1}, "--limit"),
        ({"bootstrap": 0}, "--bootstrap"),
        ({"out": Path("/none/x.json")}, "cannot be written; give a file"),
    ],
)
def test_arguments_that_mean_nothing(changes, words):
    with pytest.raises(UserError, match=words):
        result_path(said(**changes), Path("x"))


def test_protocols_and_what_is_said_besides():
    plain = scoring_options(said(), PUBLISHED["voc"])
    assert plain.protocol == Protocol(WindowParams(448, 448, 224))
    assert (plain.background, plain.threshold, plain.prompts, plain.device) == (
        None,
        0.95,
        "",
        "cpu",
    )
    tcl = scoring_options(
        said(protocol="tcl", prompts="subset", background="0.3"), PUBLISHED["ade20k"]
    )
    assert (tcl.protocol.name, tcl.protocol.windows) == ("tcl", WindowParams(448, 448, 224))
    assert tcl.protocol.refine == RefineParams("pamr")
    assert (tcl.prompts, tcl.background, tcl.threshold) == ("subset", 0.3, None)
    other = scoring_options(
        said(protocol="tcl", refine="none", masks="hierarchy", windows="9,8,7"), PUBLISHED["voc"]
    )
    assert (other.protocol.windows, other.protocol.refine) == (
        WindowParams(9, 8, 7),
        RefineParams("none"),
    )
    assert other.protocol.masks == MasksParams("hierarchy")
    assert scoring_options(
        said(protocol="groupvit"), PUBLISHED["ade20k"]
    ).protocol.windows == WindowParams(512, 224, 112)
