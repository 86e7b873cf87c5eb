import json

import numpy as np
import pytest

from captionseg.encoders import Alignment, TextSpace, normalised
from captionseg.records import UserError


@pytest.fixture
def space(toy) -> TextSpace:
    rng = np.random.default_rng(0)
    heads = (Alignment(*(rng.normal(size=s).astype(np.float32) for s in ((p,), (p,), (p, 16)))) for p in (48, 3))
    return TextSpace(toy.params().build(None), *heads)


def save(space: TextSpace, folder, **changes) -> None:
    space.save(folder, **{"encoder": "toy", "params": {"batch": 3}, "precision": "fp32", **changes})


def test_what_is_saved_is_what_is_loaded(space, tmp_path):
    save(space, tmp_path / "encoder")
    again = TextSpace.load(tmp_path / "encoder", device="cpu")
    assert again.encoder.batch == 3
    pooled, dense = np.random.default_rng(1).normal(size=(2, 48)), np.random.default_rng(2).normal(size=(2, 4, 4, 3))
    np.testing.assert_array_equal(again.project_pooled(pooled), space.project_pooled(pooled))
    np.testing.assert_array_equal(again.project_dense(dense), space.project_dense(dense))
    np.testing.assert_array_equal(again.encode(["a dog"]), space.encode(["a dog"]))


def test_an_aligned_encoder_only_normalises(toy, tmp_path):
    save(TextSpace(toy.params(aligned=True).build(None), None, None), tmp_path, params={"aligned": True})
    again = TextSpace.load(tmp_path)
    pooled = np.random.default_rng(1).normal(size=(2, 16))
    np.testing.assert_array_equal(again.project_pooled(pooled), normalised(pooled))


def test_equal_spaces_are_equal_bytes(space, tmp_path):
    for name in ("a", "b"):
        save(space, tmp_path / name)
    for file in ("encoder.json", "alignment.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no encoder saved there"):
        TextSpace.load(tmp_path)


@pytest.mark.parametrize("damage", ["torn json", "torn weights", "no weights", "unknown encoder", "unknown field"])
def test_a_damaged_folder_is_one_line(space, tmp_path, damage):
    save(space, tmp_path)
    config = json.loads((tmp_path / "encoder.json").read_text())
    if damage == "torn json":
        (tmp_path / "encoder.json").write_text("{")
    elif damage == "torn weights":
        (tmp_path / "alignment.safetensors").write_bytes(b"torn")
    elif damage == "no weights":
        (tmp_path / "alignment.safetensors").unlink()
    else:
        config["encoder" if damage == "unknown encoder" else "params"] = {"unknown encoder": "x"}.get(
            damage, {"sze": 1}
        )
        (tmp_path / "encoder.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="dvc repro index") as caught:
        TextSpace.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert "None" not in str(caught.value)
