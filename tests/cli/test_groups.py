"""`captionseg groups`: which group took which pixel, by hand and against the model's own masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from captionseg import cli
from captionseg.api.group_pictures import draw_groups
from captionseg.inference.groups import find_groups, name_groups, paint
from captionseg.inference.predictor import Predictor
from captionseg.modeling.readout.zero_shot import paint_groups
from captionseg.prepared import pixel_inputs
from captionseg.records import UserError
from tests.captionseg.benchmarks.conftest import groups, regions  # noqa: F401
from tests.captionseg.conftest import toy, world  # noqa: F401
from tests.cli.conftest import draw, encode


def test_pixels_of_a_grid_belong_to_their_largest_share():
    assignment = torch.tensor([[[0.9, 0.2], [0.1, 0.8]]])  # two groups, two cells side by side
    found = paint(assignment, (1, 2), pixel_inputs(torch.zeros(1, 3, 4, 8), (4, 8)), (4, 8))
    np.testing.assert_array_equal(found, [[0] * 4 + [1] * 4] * 4)


def test_groups_are_those_of_the_model_s_masks(groups):  # noqa: F811
    """The logits of a pixel are those of the group that it is said to belong to."""
    predictor = Predictor.load(groups, device="cpu")
    image = np.array(draw(64, 64))
    found = find_groups(predictor, image)
    assert len(found.stages) == len(found.counts) == 1
    assert found.stages[0].shape == (64, 64)
    assert found.counts == [4]
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, rtol=1e-5)
    words = ["dog", "grass"]
    inputs, model = predictor.prepare(image), predictor.model
    classes = predictor.labeller.with_classes(words).classes
    with torch.inference_mode():
        scored = model.score_groups(inputs, classes, predictor.protocol.zero_shot)
        logits = model.segment(inputs, classes, predictor.protocol.zero_shot)
        painted = paint_groups(scored.scores, torch.from_numpy(found.stages[0])[None])
    torch.testing.assert_close(painted, logits)
    names = name_groups(predictor, found, words)
    assert len(names) == 4
    assert {name for name, _ in names} <= set(words)
    assert all(-1 <= cosine <= 1 for _, cosine in names)


def test_the_command(groups, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(encode(draw(120, 90)))
    command = ["groups", "a.png", "--model", str(groups), "--device", "cpu"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "a_groups.png"
    assert len(lines) == 5
    assert sum(float(line.split()[2]) for line in lines[:-1]) == pytest.approx(100, abs=0.3)
    with Image.open("a_groups.png") as image:
        assert image.width >= 2 * 120
    assert cli.main([*command, "--labels", "dog, cat", "-o", "x.jpg"]) == 0
    named = capsys.readouterr().out.splitlines()
    assert {line.split()[4] for line in named[:-1]} <= {"dog", "cat"}
    assert (tmp_path / "x.jpg").exists()


def test_mistakes_are_one_line(groups, regions, tmp_path, capsys, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(encode(draw()))
    for words, code, message in (
        (["a.png"], 2, "Missing option '--model'"),
        (["a.png", "--model", str(regions)], 1, "a segment_mil has no groups; give a groupvit"),
        (["none.png", "--model", str(groups)], 1, "none.png: no such file"),
        (["a.png", "--model", str(groups), "-o", "a.png"], 1, "a.png: is the input picture"),
        (["a.png", "--model", str(groups), "-o", "a.txt"], 1, "unsupported image format"),
        (["a.png", "--model", str(groups), "--labels", ","], 1, "--labels: give at least one"),
    ):
        assert cli.main(["groups", *words]) == code
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert message in err
    assert not (tmp_path / "a_groups.png").exists()


def test_a_picture_of_every_stage():
    image = np.zeros((50, 80, 3), np.uint8)
    stages = [np.zeros((50, 80), np.int64), np.repeat([[0, 1]], 50, 0).repeat(40, 1)]
    sheet = draw_groups(image, stages, [3, 2], ["dog", "cat"])
    assert sheet.width >= 3 * 80
    left, right = (sheet.getpixel((2 * 250 + x, 40)) for x in (3, 76))
    assert left != right


def test_a_model_without_groups_is_named(regions):  # noqa: F811
    with pytest.raises(UserError, match="has no groups"):
        find_groups(Predictor.load(regions, device="cpu"), np.asarray(draw()))
