"""Pictures and words in, masks out: equal to the predictor's, whatever form a picture has."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import captionseg
from captionseg.inference.predictor import Predictor
from captionseg.inference.windows import Protocol
from captionseg.remarks import forget

ROOT = Path(__file__).parents[3]
LABELS = ["dog", "grass", "water"]


def test_a_result_is_what_the_predictor_says(model, image, regions):
    predictor = Predictor.load(regions, device="cpu", protocol=Protocol(contrast=0.25))
    result = model.segment(image, LABELS)
    expected = predictor.segment(image, LABELS)
    np.testing.assert_array_equal(result.mask, expected)
    logits = predictor.logits(image, LABELS)
    for number in range(3):
        own = logits[number][expected == number]
        if own.size:
            np.testing.assert_allclose(result.scores[number], own.mean(), rtol=1e-4)
        else:
            assert np.isnan(result.scores[number])
    np.testing.assert_array_equal(result.areas, np.bincount(expected.ravel(), minlength=3))
    assert result.labels == tuple(LABELS)
    assert model.name == "m"
    assert model.concepts == ["dog", "cat", "grass", "water"]


@pytest.mark.parametrize("contrast", [0, 0.5])
def test_contrast_is_as_asked_for(model, image, regions, contrast):
    plain = Predictor.load(regions, device="cpu", protocol=Protocol(contrast=contrast))
    asked = captionseg.load(regions, device="cpu", contrast=contrast)
    assert asked.predictor.protocol.contrast == contrast
    np.testing.assert_array_equal(asked.segment(image, LABELS).mask, plain.segment(image, LABELS))


def test_every_form_of_a_picture_gives_the_same(model, image, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path)
    forms = [image, path, str(path), path.read_bytes(), Image.open(path), Image.fromarray(image)]
    found = model.segment(forms, LABELS)
    assert [type(one) for one in found] == [captionseg.Segmentation] * len(forms)
    assert all((one.mask == found[0].mask).all() for one in found)
    assert [one.name for one in found] == ["", str(path), str(path), "", str(path), ""]
    assert model.segment([], LABELS) == []
    assert len([*model.stream((form for form in forms), LABELS)]) == len(forms)


def test_a_label_has_the_pixels_of_all_its_names(model, image):
    apart = model.segment(image, ["dog", "cat", "grass", "water"])
    joined = model.segment(image, ["dog; water", "cat;grass"])
    assert joined.labels == ("dog", "cat")
    np.testing.assert_array_equal(joined.mask, np.array([0, 1, 1, 0])[apart.mask])
    maps = model.score(image, ["dog", "cat", "grass", "water"], side=20)
    both = model.score(image, ["dog; water", "cat;grass"], side=20)
    assert maps.shape == (4, 20, 12)
    np.testing.assert_allclose(both, np.stack([maps[[0, 3]].max(0), maps[[1, 2]].max(0)]))


def test_a_single_label_leaves_pixels_out_unless_told_otherwise(model, image, caplog):
    forget()
    label = LABELS[model.segment(image, LABELS).areas.argmin()]
    left = model.segment(image, [label])
    assert "other=False labels every pixel" in caplog.text
    rivals = model.predictor.find_rivals([label])
    assert rivals
    np.testing.assert_array_equal(left.mask, model.predictor.segment(image, [label], rivals))
    assert (left.mask == -1).any()
    assert (model.segment(image, [label], other=False).mask == 0).all()
    assert model.segment(image, LABELS).shares.sum() == pytest.approx(1)


def test_a_background_of_the_model(groups, image):
    model = captionseg.load(groups, device="cpu", background=0.99)
    result = model.segment(image, ["dog", "cat"])
    assert (result.mask == -1).any()
    assert model.score(image, ["dog", "cat"]).shape[0] == 2  # the background is no label


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "labels: give at least one"),
        ("zebra, grass", "labels: expected a list"),
        ([3], "labels: expected words"),
        (["a", " ; "], "contains no word"),
        (["person; man", "man"], "'man' is a name of 'person' and again of 'man'; remove one"),
        ([str(n) for n in range(256)], "256; at most 255"),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(model, image, labels, message):
    with pytest.raises(captionseg.UserError) as error:
        model.segment(image, labels)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_picture_or_no_size_is_one_line(model, image):
    with pytest.raises(captionseg.UserError, match=r"picture: expected a file, bytes, .* NoneType"):
        model.segment(None, LABELS)
    with pytest.raises(captionseg.UserError, match="side: expected at least 1 pixel, found 0"):
        model.score(image, LABELS, side=0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"refine": "more"}, "refine"),
        ({"masks": "all"}, "masks"),
        ({"contrast": 2}, "contrast"),
        ({"background": 0.5}, "no background threshold"),
        ({"masks": "hierarchy"}, "does not read segments"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_options_that_cannot_be_used_are_one_line(regions, asked, message):
    with pytest.raises(captionseg.UserError, match=message):
        captionseg.load(regions, **{"device": "cpu", **asked})


def test_importing_captionseg_imports_nothing_else():
    program = (
        "import sys, captionseg\nbefore = set(sys.modules)\nassert captionseg.__version__\n"
        "assert 'load' in dir(captionseg)\n"
        "print(*(m for m in before if m.startswith('captionseg.') or m in ('torch', 'numpy')))\n"
        "assert captionseg.find_model('nowhere') is None or 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "\n"
    with pytest.raises(AttributeError, match="'captionseg' has no attribute 'lode'"):
        captionseg.lode  # noqa: B018


def test_type_checkers_see_the_same_names():
    stub = ast.parse((ROOT / "captionseg" / "__init__.pyi").read_text())
    seen = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == captionseg._HOMES
