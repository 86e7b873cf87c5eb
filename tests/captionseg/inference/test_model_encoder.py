"""The encoder of a saved model: of a seed the recipe's, never another than that of the training."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.inference.model_encoder import check_encoder, check_head
from captionseg.records import UserError


def test_features_of_another_encoder_are_refused(folder, tmp_path_factory):
    other = Path(
        shutil.copytree(folder / "encoder", tmp_path_factory.mktemp("features") / "encoder")
    )
    check_encoder(folder, other)
    config = json.loads((other / "encoder.json").read_text())
    (other / "encoder.json").write_text(
        json.dumps(config | {"params": config["params"] | {"batch": 3}})
    )
    check_encoder(folder, other)  # what comes out does not depend on it
    (other / "encoder.json").write_text(json.dumps(config | {"encoder": "open_clip"}))
    with pytest.raises(UserError, match=r"its encoder .* differs from that of the features"):
        check_encoder(folder, other)


def test_a_copied_block_with_another_activation_is_refused(tmp_path):
    """Of a model that was trained when OpenAI's weights by path had GELU."""
    model = torch.nn.Sequential(DenseHead(HeadConfig(4, 3, 8, quick=False)))
    for quick in (False, True):
        encoder = SimpleNamespace(head=DenseHead(HeadConfig(4, 3, 8, quick=quick)))
        with (
            pytest.raises(
                UserError, match=r"was trained with GELU .* has QuickGELU; train it again"
            )
            if quick
            else contextlib.nullcontext()
        ):
            check_head(model, lambda encoder=encoder: encoder, tmp_path)  # type: ignore[arg-type]
