"""Maps of single concepts: which are shown, what their values are, and how they are drawn."""

import functools
import math

import numpy as np
import pytest
from PIL import Image

from captionseg.inference.protocols import merge_with_preset
from captionseg.inference.windows import Protocol
from captionseg.reporting import heat
from captionseg.reporting.artifacts import Artifacts
from captionseg.reporting.overlay import IGNORED
from captionseg.reporting.params import ReportParams
from captionseg.reporting.predictions import predict_labels

PAIR = ("cocu-mil", "nouns-mil")


@pytest.fixture
def run(folders, recipes) -> Artifacts:
    return Artifacts(folders, recipes)


def test_concepts_that_captions_leave_out(run, recipes, unknown):
    found = heat.find_unnamed_concepts(run, "test")
    assert len(found) == 3
    assert all(names == {"grass", "sky"} for names in found.values())
    assert heat.find_unnamed_concepts(Artifacts(unknown, recipes), "test") == {}


def test_the_largest_area_is_shown_and_no_concept_twice_where_there_is_another():
    a = np.array([[0, 0, 0, 1], [2, 2, 1, IGNORED]], np.uint8)  # three, two, two pixels
    b = np.array([[0, 0, 0, 0], [2, 1, 1, 1]], np.uint8)
    c = np.full((2, 4), 1, np.uint8)
    masks = {"a": a, "b": b, "c": c, "d": c}
    left = {"a": {"x", "y"}, "b": {"x", "y", "z"}, "c": {"y"}, "d": {"x", "z"}}
    found = heat.select_concepts(masks, left, ("x", "y", "z"))
    # d shows none of its own
    assert {uid: concept for uid, (concept, _) in found.items()} == {"a": 0, "b": 1, "c": 1}
    assert np.array_equal(found["b"][1], b == 1)
    tie = heat.select_concepts({"a": np.array([[0, 1]], np.uint8)}, {"a": {"x", "y"}}, ("x", "y"))
    assert tie["a"][0] == 0


def test_how_far_a_class_stands_out():
    # mean 3, deviation sqrt(14 / 3); none at the second
    logits = np.array([[[1.0, 5.0]], [[2.0, 5.0]], [[6.0, 5.0]]])
    assert heat.standardise(logits, 2) == pytest.approx(np.array([[3 / math.sqrt(14 / 3), 0.0]]))
    assert heat.standardise(logits, 0) == pytest.approx(np.array([[-2 / math.sqrt(14 / 3), 0.0]]))
    # of no size of its own
    assert heat.standardise(7.0 * logits - 3.0, 1) == pytest.approx(heat.standardise(logits, 1))
    alone = np.zeros((10, 1, 1))
    alone[4] = 1.0
    # sqrt(C - 1), the most there is
    assert heat.standardise(alone, 4) == pytest.approx(np.array([[3.0]]))
    assert heat.find_scale_end(10) == 3.0
    assert heat.find_scale_end(1000) == heat.TOP
    assert heat.find_scale_end(1) == 1.0


def test_means_inside_and_outside():
    values, true = np.array([[1.0, 3.0, 5.0]]), np.array([[True, True, False]])
    assert heat.compute_means(values, true) == {"inside": 2.0, "outside": 5.0}
    assert heat.compute_means(values, np.ones((1, 3), bool)) == {"inside": 3.0, "outside": 0.0}


@pytest.mark.usefixtures("fake_encoder")
@pytest.mark.parametrize("name", ["", "tcl"])
def test_the_class_that_stands_out_most_is_the_label(run, name):
    """Of the same model on the same pictures, by the code that draws overlays, under any
    protocol."""
    protocol = merge_with_preset(name, Protocol()) if name else Protocol()
    masks = run.masks(heat.find_unnamed_concepts(run, "test"))
    frozen = functools.cache(lambda: heat.load_encoder(run.folders.prepared.encoder))
    labels = predict_labels(run, "cocu-mil", masks, frozen, protocol, "cpu")
    maps = [
        heat.compute_activations(
            run,
            "cocu-mil",
            {uid: (c, mask == c) for uid, mask in masks.items()},
            frozen,
            protocol,
            "cpu",
        )
        for c in range(len(run.classes.names))
    ]
    for uid in masks:
        assert np.array_equal(np.stack([found[uid] for found in maps]).argmax(0), labels[uid])


@pytest.mark.usefixtures("fake_encoder")
def test_pictures_and_what_is_said_of_them(run, tmp_path):
    found = heat.compare(run, PAIR, ReportParams(heat=2), Protocol(), tmp_path, seed=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [
            "heat.jpg",
            *(f"heat_{n}{name}.jpg" for n in (1, 2) for name in ("", "_nouns-mil", "_cocu-mil")),
        ]
    )
    assert found["top"] == pytest.approx(math.sqrt(3))
    assert {row["concept"] for row in found["rows"]} == {"grass", "sky"}
    assert [[m["name"] for m in row["maps"]] for row in found["rows"]] == [
        ["nouns-mil", "cocu-mil"]
    ] * 2
    assert found["stops"][0] == "#440154"
    with Image.open(tmp_path / "heat.jpg") as sheet:
        assert sheet.width == 3 * 32 + 2 * 8
    again = heat.compare(run, PAIR, ReportParams(heat=2), Protocol(), tmp_path / "again", seed=0)
    assert again == found


def test_nothing_where_there_is_nothing_to_show(run, recipes, unknown, tmp_path):
    for case, pair, params in (
        (run, None, ReportParams()),
        (run, PAIR, ReportParams(heat=0)),
        (Artifacts(unknown, recipes), PAIR, ReportParams()),
    ):
        assert heat.compare(case, pair, params, Protocol(), tmp_path, seed=0) == {}
    assert list(tmp_path.iterdir()) == []


def test_colours_lie_over_a_grey_picture_and_the_outline_on_top():
    image = np.full((8, 8, 3), (10, 200, 90), np.uint8)
    values = np.zeros((8, 8))
    values[:, 4:] = 2.0  # beyond the end of the scale
    true = np.zeros((8, 8), bool)
    drawn = heat.tint(image, values, true, opacity=1.0)
    assert drawn[0, 0].tolist() == [68, 1, 84]
    assert drawn[0, 7].tolist() == [253, 231, 37]
    grey = round(0.299 * 10 + 0.587 * 200 + 0.114 * 90)
    assert heat.tint(image, values, true, opacity=0.0)[0, 0].tolist() == [grey] * 3
    true[:, :4] = True
    lined = heat.tint(image, values, true)
    assert (lined[:, 3] == 255).all()
    assert (lined[:, 1:3] == 20).all()
    assert not (lined[:, [0, 4]] == 255).all(axis=2).any()
