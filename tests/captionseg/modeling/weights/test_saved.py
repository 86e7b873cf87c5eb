import json

import pytest
import torch

from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.weights import saved
from captionseg.records import UserError


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    saved.save(
        tmp_path,
        "segment_mil",
        SegmentMil(SegmentMilConfig(3, 4, hidden=5, width=2)),
        {"recipe": "x"},
    )
    return tmp_path


def test_equal_models_are_equal_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    saved.save(other, "segment_mil", saved.load(folder).model, {"recipe": "x"})
    for file in ("model.safetensors", "config.json"):
        assert (folder / file).read_bytes() == (other / file).read_bytes()


def test_no_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"config.json: no such file; train a model first"):
        saved.load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="train a model first"):
        saved.load(tmp_path / "file")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"torn" * 100),
        ("config.json", b"{"),
        ("config.json", b"\xff\xfe"),
        ("config.json", b"[]"),
        ("config.json", json.dumps({"model": "segment_mil", "config": None}).encode()),
    ],
)
def test_a_damaged_model_is_one_line(folder, file, content):
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match="not a model of this version") as caught:
        saved.load(folder)
    assert "\n" not in str(caught.value)


def test_a_config_without_context_is_one_line(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["context"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="not a model of this version"):
        saved.load(folder)


def test_weights_that_are_missing_are_one_line(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no such file|train a model") as caught:
        saved.load(folder)
    assert "model.safetensors" in str(caught.value)
