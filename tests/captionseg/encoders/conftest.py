"""Every encoder, in the smallest form that runs: the default with its real weights, the others with
random ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """The checkpoint of a random ViT that open_clip lists as tiny-test."""
    import open_clip
    import torch

    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "tiny-test.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-test").state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


@pytest.fixture(scope="session")
def tiny_siglip(tmp_path_factory) -> str:
    """The folder of a random SigLIP 2 of transformers."""
    from tests.captionseg.encoders.tiny_siglip import save_siglip

    return save_siglip("siglip2", tmp_path_factory.mktemp("siglip2"))


@pytest.fixture(scope="session")
def tiny_tips(tmp_path_factory) -> str:
    """The folder of a random TIPSv2 of transformers."""
    from tests.captionseg.encoders.tiny_siglip import save_tips

    return save_tips(tmp_path_factory.mktemp("tips"))


@pytest.fixture(scope="session")
def build(tiny_clip, tiny_siglip, tiny_tips):
    """name -> encoder on the CPU; an encoder without an entry here has no test of what all must
    do."""
    from captionseg.encoders.encoders import ENCODERS
    from captionseg.runtime.device import Runtime

    settings = {
        "lite0_minilm": {"size": 64},
        "open_clip": {"model": "tiny-test", "pretrained": str(tiny_clip)},
        "siglip": {"folder": tiny_siglip},
        "tips": {"folder": tiny_tips},
    }
    made = {}

    def make(name: str):
        if name not in made:
            made[name] = ENCODERS[name](**settings[name]).build(Runtime())
        return made[name]

    return make


@pytest.fixture
def other_clip(tmp_path):
    """settings of a tiny model -> its name and the checkpoint of one, no bias zero, no norm the
    identity.
    """
    import open_clip
    import torch

    def make(name: str, **changes) -> tuple[str, str]:
        (tmp_path / f"{name}.json").write_text(json.dumps(TINY | changes))
        open_clip.add_model_config(tmp_path)
        torch.manual_seed(0)
        model = open_clip.create_model(name)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        torch.save(model.state_dict(), tmp_path / f"{name}.pt")
        return name, str(tmp_path / f"{name}.pt")

    return make


@pytest.fixture(scope="session")
def pictures() -> list[np.ndarray]:
    """Three pictures of different sizes and shapes."""
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 255, (h, w, 3), dtype=np.uint8) for h, w in ((64, 64), (40, 90), (7, 5))
    ]
