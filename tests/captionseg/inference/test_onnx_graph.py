"""What is exported labels pictures as the model does, before ONNX and after."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from captionseg.encoders.encoder import Features
from captionseg.grids import indicators, squash
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.onnx_check import check, compare, label, list_pictures, write_labels
from captionseg.inference.onnx_export import plan_export, write_graph
from captionseg.inference.onnx_graph import describe_geometry, pool
from captionseg.inference.predictor import Predictor
from captionseg.inference.protocols import ScoringOptions
from captionseg.modeling.groupvit import GroupViT, GroupViTConfig, groupvit_tiny
from captionseg.modeling.maskclip import MaskClip, MaskClipConfig
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.segmenter import Sizes
from captionseg.records import UserError
from captionseg.segmenters import pooling
from tests.captionseg.conftest import ToyEncoder

REGIONS = {"maker": "felzenszwalb", "felzenszwalb": {"side": 16, "scale": 5.0, "min_size": 4}}
LABELS = ["dog", "grass", "water", "a red bus", "sky", "sand"]


class Cells(ToyEncoder):
    """Mean colours of 4 x 4 cells of a square, by torch."""

    size = 16

    def __init__(self):
        super().__init__(aligned=False, batch=2)

    def towers(self, pixels):
        return pixels.mean((2, 3)), F.avg_pool2d(pixels / 64, 4).permute(0, 2, 3, 1)

    def features(self, images, reduction=None):
        pixels = torch.from_numpy(np.stack([squash(image, self.size) for image in images]))
        pooled, dense = self.towers(pixels.permute(0, 3, 1, 2).float())
        return Features(pooled.numpy(), pooled.numpy(), dense.numpy())


def segment_mil():
    return "segment_mil", SegmentMil(SegmentMilConfig(10, 16, hidden=8, width=4))


def region_groupvit():
    model = GroupViT(GroupViTConfig().with_sizes(Sizes(regions=10, texts=16)))
    with torch.no_grad():  # so that regions differ
        for weight in model.towers.vision.parameters():
            weight *= 3
    return "groupvit", model


def tiny_groupvit():
    config = groupvit_tiny()
    encoder = replace(config.towers.encoder, size=16, patch=4, width=24, depths=[1, 1])
    text = replace(config.towers.text, width=16, depth=1)
    towers = replace(config.towers, encoder=encoder, text=text, hidden=8)
    return "groupvit", GroupViT(replace(config, towers=towers))


def load(made) -> Predictor:
    torch.manual_seed(0)
    name, model = made()
    context = {"regions": REGIONS, "prompts": "simple", "recipe": "a-mil"}
    frozen = functools.cache(Cells)
    loaded = LoadedModel(model.eval(), Path("models/a-mil"), frozen, "cpu", name, context)
    labeller = Labeller.of(loaded, ScoringOptions(device="cpu"))
    return Predictor(labeller, labeller.preparation())


def pictures(*sizes):
    """Noise in four colours, so that there are regions."""
    rng = np.random.default_rng(0)
    for height, width in sizes:
        coarse = rng.integers(0, 255, (3, 3, 3), dtype=np.uint8)
        image = squash(coarse, max(height, width))[:height, :width]
        yield image + rng.integers(0, 9, image.shape, dtype=np.uint8)


def test_regions_are_pooled_as_the_stages_pool_them():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.integers(0, 5, (4, 5)), 3, 0), 4, 1)
    dense = rng.normal(size=(3, 4, 6)).astype(np.float32)
    wanted = pooling.pool_regions(dense, labels, 7)  # two of them are empty
    inside = torch.from_numpy(indicators(labels, 7))
    np.testing.assert_allclose(pool(torch.from_numpy(dense), inside), wanted[:, :6], atol=1e-5)
    np.testing.assert_array_equal(describe_geometry(inside), wanted[:, 6:])


@pytest.mark.parametrize("made", [segment_mil, region_groupvit, tiny_groupvit])
def test_the_graph_labels_as_the_model(made):
    predictor = load(made)
    plan = plan_export(predictor)
    classes = predictor.embed_labels(LABELS)

    def run(inputs):
        assert {k: v.shape[1:] for k, v in inputs.items() if k != "classes"} == {
            k: tuple(v.shape[1:]) for k, v in plan.inputs.items() if k != "classes"
        }
        assert list(inputs) == list(plan.inputs)
        with torch.no_grad():
            return plan.graph(*map(torch.from_numpy, inputs.values())).numpy()

    for image in pictures((32, 32), (40, 33)):
        found = label(run, predictor, image, classes)
        own = predictor.segment(image, LABELS)
        assert len(np.unique(own)) > 1
        assert (found == own).mean() > 0.999


def test_metadata_say_what_is_fixed():
    about = plan_export(load(segment_mil)).about
    assert about["kind"] == "regions"
    assert about["input.picture"].startswith("uint8 [1, 16, 16, 3]: ")
    assert about["input.regions"].endswith("0 to 31; fixed")
    assert about["input.classes"].endswith("any number from 2 on")
    assert '"side": 16' in about["regions"]
    about = plan_export(load(tiny_groupvit)).about
    assert about["input.window"].startswith("float32 [1, 3, 32, 32]: ")
    assert about["input.classes"].endswith("any number from 5 on"), "the five best are kept"
    assert "regions" not in about


def test_other_models_are_refused():
    with pytest.raises(UserError, match="models/a-mil: a maskclip cannot be exported as ONNX"):
        plan_export(load(lambda: ("maskclip", MaskClip(MaskClipConfig()))))


def test_pictures_of_folders_are_taken_by_name(tmp_path):
    for name in [*(f"{i:02d}.jpg" for i in range(12, 0, -1)), "notes.txt"]:
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    other = tmp_path / "any.name"
    assert [path.name for path in list_pictures([other, tmp_path])] == [
        "any.name",
        *(f"{i:02d}.jpg" for i in range(1, 11)),
    ]
    with pytest.raises(UserError, match="none: no picture"):
        list_pictures([tmp_path / "none"])


def test_what_is_checked(tmp_path, monkeypatch):
    predictor = load(segment_mil)
    assert check(tmp_path, predictor, [], [], least=2).startswith("not checked: --check PICTURE")
    with pytest.raises(UserError, match="--labels: this model needs at least 2 labels, found 0"):
        check(tmp_path, predictor, [tmp_path / "a.jpg"], [], least=2)
    module = "captionseg.inference.onnx_check"
    monkeypatch.setattr(f"{module}.compare", lambda *_: 0.9985)
    with pytest.raises(UserError, match=r"1 picture: 99\.850 % of the pixels .*: nothing is"):
        check(tmp_path, predictor, [tmp_path / "a.jpg"], ["a", "b"], least=2)
    said = write_labels(predictor, ["a dog", "sky"], tmp_path / "a.labels.npz")
    assert said.endswith("embeddings [2, 16] of 2 labels")
    with np.load(tmp_path / "a.labels.npz") as stored:
        assert stored["labels"].tolist() == ["a dog", "sky"]
        np.testing.assert_array_equal(stored["classes"], predictor.embed_labels(["a dog", "sky"]))


def test_onnxruntime_labels_as_the_model(tmp_path, monkeypatch):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the extra `export` is not installed")
    import onnxruntime

    # checks of shapes would fix the number of classes, as they compare it
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    predictor = load(segment_mil)
    plan, path = plan_export(predictor), tmp_path / "a.onnx"
    write_graph(plan, path)
    images = [*pictures(*[(32, 32)] * 8, (40, 33), (9, 50))]
    assert compare(path, predictor, images, LABELS) >= 0.999
    assert compare(path, predictor, images[:1], LABELS[:2]) >= 0.999, "any number of classes"
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == plan.about
    assert [one.shape for one in session.get_inputs()] == [
        [1, 16, 16, 3],
        [1, 16, 16],
        ["classes", 16],
    ]


def test_without_the_packages_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(
        UserError, match=r"onnx is not installed: pip install 'captionseg\[export\]"
    ):
        write_graph(SimpleNamespace(), tmp_path / "a.onnx")
