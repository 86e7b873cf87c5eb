"""Files of weights: nothing runs, and what is not finite, or does not fit, is one line with its
name.
"""

from __future__ import annotations

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from captionseg.records import UserError
from captionseg.runtime.weights import check_finite, load_into, read_metadata, read_weights


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.float8_e5m2]
)
@pytest.mark.parametrize(
    ("value", "kind"),
    [(float("nan"), "NaN"), (float("inf"), "infinite"), (float("-inf"), "infinite")],
)
def test_one_number_that_is_none_is_found(dtype, value, kind):
    good = torch.arange(999.0)
    bad = good.clone()
    bad[777] = value
    check_finite(
        {"empty": torch.zeros(0), "whole": torch.arange(3), "a": good.clamp(max=9).to(dtype)},
        "x.pt",
    )
    with pytest.raises(UserError, match=f"^x.pt: tensor b.c contains {kind}") as caught:
        check_finite({"a": good, "b.c": bad.clamp(max=torch.inf).to(dtype)}, "x.pt")
    assert "\n" not in str(caught.value)


def test_what_float32_cannot_hold_is_not_finite():
    with pytest.raises(UserError, match="tensor a contains infinite"):
        check_finite({"a": torch.tensor([1e300], dtype=torch.float64)}, "x.pt")


@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_files_with_nan_are_refused(tmp_path, name):
    state = {"good": torch.ones(3), "bad": torch.tensor([1.0, torch.nan])}
    save_file(state, tmp_path / name) if name.endswith("tensors") else torch.save(
        state, tmp_path / name
    )
    with pytest.raises(UserError, match=rf"{name}: tensor bad contains NaN"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight": torch.ones(2, 3)}, "it has no tensor bias"),
        (
            {"weight": torch.ones(3, 2), "bias": torch.ones(2)},
            r"weight is \[3, 2\], expected \[2, 3\]",
        ),
        (
            {"weight": torch.ones(2, 3), "bias": torch.ones(2), "more": torch.ones(1)},
            "unexpected tensor more$",
        ),
        (
            {"weight": torch.ones(2, 3, dtype=torch.int8), "bias": torch.ones(2)},
            "weight is int8, expected float32",
        ),
        (
            {"weight": torch.ones(2, 3), "bias": torch.tensor([1.0, torch.inf])},
            "tensor bias contains infinite",
        ),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    module = torch.nn.Linear(3, 2)
    before = module.weight.clone()
    with pytest.raises(UserError, match=f"^x.pt: .*{message}"):
        load_into(module, given, "x.pt", "a line")
    assert torch.equal(module.weight, before)


def test_half_precision_is_fine():
    module = torch.nn.Linear(3, 2)
    load_into(
        module,
        {"weight": torch.full((2, 3), 0.5).half(), "bias": torch.ones(2, dtype=torch.bfloat16)},
        "x",
        "y",
    )
    assert module.weight.dtype == torch.float32
    assert module.weight.eq(0.5).all()


def test_metadata(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"format": "pt", "x": "1"})
    assert read_metadata(tmp_path / "a.safetensors") == {"format": "pt", "x": "1"}
    (tmp_path / "torn").write_bytes(b"\xff" * 20)
    assert read_metadata(tmp_path / "torn") == read_metadata(tmp_path / "none") == {}


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('an archive ran code')",)


def archive(path, described: bytes, **files: bytes) -> None:
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("x/data.pkl", described)
        out.writestr("x/code/__torch__.py", "raise SystemExit('an archive ran code')")
        for name, content in files.items():
            out.writestr(f"x/data/{name}", content)


@pytest.mark.parametrize("value", [Evil(), {"a": Evil()}])
def test_an_archive_cannot_run_code(tmp_path, value):
    archive(tmp_path / "evil.pt", pickle.dumps(value, protocol=2))
    with pytest.raises(
        UserError, match=r"evil.pt: contains more than tensors, so it could run code"
    ):
        read_weights(tmp_path / "evil.pt")


def test_a_damaged_archive_is_one_line(tmp_path):
    """Torn in its description, or with fewer numbers than it says."""
    rows = io.BytesIO()
    rows.write(
        b"\x80\x02c__torch__ \nM\n)\x81}(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x05tQK\x00(K\x05t(K\x01t\x89}tRub."
    )
    whole = rows.getvalue()
    archive(tmp_path / "whole.pt", whole, **{"0": np.arange(5, dtype=np.float32).tobytes()})
    assert read_weights(tmp_path / "whole.pt")["a"].tolist() == [0, 1, 2, 3, 4]
    archive(tmp_path / "short.pt", whole, **{"0": bytes(8)})
    archive(tmp_path / "torn.pt", whole[: len(whole) // 2], **{"0": bytes(20)})
    archive(tmp_path / "lost.pt", whole)
    for name in ("short.pt", "torn.pt", "lost.pt"):
        with pytest.raises(UserError, match=f"{name}: not a file of weights: ") as caught:
            read_weights(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """tensors -> the same, the last float of them with a NaN."""

    def make(path) -> str:
        tensors = load_file(path)
        name = next(k for k, v in tensors.items() if v.is_floating_point() and v.numel() > 1)
        tensors[name].view(-1)[1] = torch.nan
        save_file(tensors, path)
        return name

    return make


def test_a_model_of_ones_own_with_nan_is_refused(tmp_path, broken):
    """At 057bf04 it loaded, and gave every pixel class 0."""
    from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
    from captionseg.modeling.weights import saved

    saved.save(
        tmp_path,
        "segment_mil",
        SegmentMil(SegmentMilConfig(3, 4, hidden=5, width=2)),
        {"prompts": "simple"},
    )
    name = broken(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=rf"model.safetensors: tensor {name} contains NaN"):
        saved.load(tmp_path)


def test_an_alignment_with_nan_is_refused(tmp_path, broken):
    from captionseg.encoders.alignment import Alignment
    from captionseg.encoders.text_space import TextSpace

    weight = np.ones((4, 384), np.float32)
    line = Alignment(np.zeros(4, np.float32), np.ones(4, np.float32), weight)
    space = TextSpace(None, line, line)
    space.save(tmp_path, encoder="lite0_minilm", params={}, precision="fp32")
    broken(tmp_path / "alignment.safetensors")
    with pytest.raises(UserError, match=r"alignment.safetensors: tensor .* contains NaN"):
        TextSpace.load(tmp_path, device="cpu")
