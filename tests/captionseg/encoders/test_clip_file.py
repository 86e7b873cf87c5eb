"""Files of CLIP's weights: what they say of their activation is obeyed, and never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from safetensors.torch import save_file

from captionseg.encoders.open_clip import OpenClipParams
from captionseg.records import UserError
from captionseg.runtime.device import Runtime

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module", autouse=True)
def twins(tmp_path_factory):
    """A model that open_clip lists twice, as it does ViT-B-16: `twin` and `twin-quickgelu`."""
    folder = tmp_path_factory.mktemp("twins")
    (folder / "twin.json").write_text(json.dumps(TINY))
    (folder / "twin-quickgelu.json").write_text(json.dumps(TINY | {"quick_gelu": True}))
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)
    for name in ("twin", "twin-quickgelu"):
        open_clip.factory._MODEL_CONFIGS.pop(name)


def random_model(quick: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    model = open_clip.CLIP(**TINY, quick_gelu=quick).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            # nothing is lost in half precision
            parameter.copy_((parameter + 0.3 * torch.randn_like(parameter)).half())
    return model


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in model.state_dict().items()}


PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def theirs_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As transformers names them; written out by hand, not with the code under test."""
    out = {
        "logit_scale": state["logit_scale"],
        "text_projection.weight": state["text_projection"].T,
        "visual_projection.weight": state["visual.proj"].T,
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.embeddings.position_ids": torch.arange(16)[None],
        "vision_model.embeddings.class_embedding": state["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": state["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": state["visual.positional_embedding"],
    }
    for end in ("weight", "bias"):
        out[f"text_model.final_layer_norm.{end}"] = state[f"ln_final.{end}"]
        out[f"vision_model.pre_layrnorm.{end}"] = state[f"visual.ln_pre.{end}"]
        out[f"vision_model.post_layernorm.{end}"] = state[f"visual.ln_post.{end}"]
        for tower, own, layers in (("text_model", "", 1), ("vision_model", "visual.", 2)):
            for n in range(layers):
                a, b = f"{tower}.encoder.layers.{n}", f"{own}transformer.resblocks.{n}"
                for part, third in zip(
                    "qkv", state[f"{b}.attn.in_proj_{end}"].chunk(3), strict=True
                ):
                    out[f"{a}.self_attn.{part}_proj.{end}"] = third
                for new, old in PARTS.items():
                    out[f"{a}.{new}.{end}"] = state[f"{b}.{old}.{end}"]
    return {name: tensor.contiguous() for name, tensor in out.items()}


HF = {
    "model_type": "clip",
    "text_config": {"num_attention_heads": 2},
    "vision_config": {"num_attention_heads": 2},
}


def write(folder: Path, layout: str, state: dict[str, torch.Tensor], *, quick: bool) -> Path:
    """A file that says, each in its way, whether it has QuickGELU."""
    act = "quick_gelu" if quick else "gelu"
    path = folder / ("weights.pt" if layout == "openai" else "weights.safetensors")
    if layout == "openai":
        numbers = {"input_resolution": 32, "context_length": 16, "vocab_size": 100}
        half = {k: v.half() for k, v in state.items()}
        torch.save(half | {k: torch.tensor(v) for k, v in numbers.items()}, path)
    elif layout == "metadata":
        save_file(state, path, metadata={"hidden_act": act})
    elif layout == "open_clip":
        save_file(state, path)
        config = {"model_cfg": TINY | ({"quick_gelu": True} if quick else {}), "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    elif layout == "transformers":
        save_file(theirs_of(state), path)
        said = {} if quick else {"hidden_act": "gelu"}  # theirs is quick_gelu where nothing is said
        config = HF | {part: HF[part] | said for part in ("text_config", "vision_config")}
        (folder / "config.json").write_text(json.dumps(config))
    else:
        path = folder / f"{layout}.safetensors"
        save_file(state, path)
    return path


def build(path: Path, model: str = "twin", **more):
    return OpenClipParams(model, str(path), **more).build(Runtime())


def refused(message: str, path: Path, model: str = "twin", **more) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(path, model, **more)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("layout", "quick"),
    [
        ("openai", True),
        ("metadata", True),
        ("metadata", False),
        ("open_clip", True),
        ("open_clip", False),
        ("transformers", True),
        ("transformers", False),
        ("clip-quickgelu", True),
        ("ViT-openai-1", True),
    ],
)
def test_the_activation_is_that_of_the_file(tmp_path, layout, quick):
    """Images and texts are what the model gives that the weights are of; before, every file had
    GELU.
    """
    model = random_model(quick)
    path = write(tmp_path, layout, state_of(model), quick=quick)
    encoder = build(path)
    image, tokens = torch.rand(2, 3, 32, 32), torch.tensor([[1, 5, 99] + 13 * [0]])
    tolerance = {"atol": 1e-5, "rtol": 1e-5}
    other = random_model(not quick)
    with torch.inference_mode():
        torch.testing.assert_close(
            encoder.model.encode_image(image), model.encode_image(image), **tolerance
        )
        torch.testing.assert_close(
            encoder.model.encode_text(tokens), model.encode_text(tokens), **tolerance
        )
        assert (
            other.encode_image(image) - model.encode_image(image)
        ).abs().max() > 0.01  # so much it makes
    tokens = OpenClipParams("twin", str(path), dense="tokens").build(Runtime())
    assert tokens.head.config.quick is quick  # the copied block of MaskCLIP, TCL and CoDe
    with torch.inference_mode():
        before, block = 0.3 * torch.randn(1, 4, 32), model.visual.transformer.resblocks[-1]
        alone = torch.stack([block(cell[None])[0] for cell in before.flatten(0, 1)[:, None]])
        torch.testing.assert_close(tokens.head.block(before)[0], alone[:, 0], **tolerance)


def test_a_file_that_says_nothing_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(state_of(random_model(True)), path)
    refused(
        "QuickGELU .* or GELU .*use twin-quickgelu, or twin with index.open_clip.activation: gelu",
        path,
    )
    for more, quick in (
        ({"model": "twin-quickgelu"}, True),
        ({"activation": "quick_gelu"}, True),
        ({"activation": "gelu"}, False),
    ):
        blocks = build(path, **more).model.visual.transformer.resblocks
        assert all(isinstance(block.mlp.gelu, QuickGELU) is quick for block in blocks)


def test_a_choice_against_the_file_is_obeyed_and_said(tmp_path, caplog):
    path = write(tmp_path, "openai", state_of(random_model(True)), quick=True)
    encoder = build(path, activation="gelu")
    assert not isinstance(encoder.model.visual.transformer.resblocks[0].mlp.gelu, QuickGELU)
    assert (
        "using GELU because of index.open_clip.activation, although the format of OpenAI's files"
        in caplog.text
    )


def test_contradictions_are_one_line(tmp_path):
    path = write(tmp_path, "metadata", state_of(random_model(False)), quick=False)
    refused("hidden_act says GELU, but twin-quickgelu has QuickGELU", path, "twin-quickgelu")
    refused(
        "twin-quickgelu and activation: gelu contradict", path, "twin-quickgelu", activation="gelu"
    )
    config = {"model_cfg": TINY | {"quick_gelu": True}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    refused("open_clip_config.json says QuickGELU, but its metadata, hidden_act says GELU", path)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (
            "config.json",
            HF | {"text_config": {"num_attention_heads": 2, "hidden_act": "gelu_new"}},
            "hidden_act is gelu_new",
        ),
        (
            "config.json",
            HF | {"text_config": {}},
            "text_config.num_attention_heads: 8, but the chosen model has 2",
        ),
        (
            "config.json",
            HF | {"vision_config": HF["vision_config"] | {"layer_norm_eps": 1e-6}},
            "layer_norm_eps: 1e-06",
        ),
        (
            "open_clip_config.json",
            {
                "model_cfg": TINY
                | {"quick_gelu": True, "vision_cfg": TINY["vision_cfg"] | {"head_width": 32}}
            },
            "vision_cfg.head_width: 32",
        ),
        (
            "open_clip_config.json",
            {"model_cfg": TINY, "preprocess_cfg": {"mean": "x", "std": 1}},
            "must be three numbers",
        ),
    ],
)
def test_what_no_shape_tells_is_compared_with_the_config_beside_the_file(
    tmp_path, name, config, message
):
    path = write(tmp_path, "clip-quickgelu", state_of(random_model(True)), quick=True)
    (tmp_path / name).write_text(json.dumps(config))
    refused(message, path)


def test_a_config_that_is_torn_is_one_line(tmp_path):
    path = write(tmp_path, "clip-quickgelu", state_of(random_model(True)), quick=True)
    (tmp_path / "open_clip_config.json").write_text("{")
    refused("open_clip_config.json: cannot be read", path)


@pytest.mark.filterwarnings(
    "ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning"
)
def test_torchscript_is_read_without_being_run(tmp_path, monkeypatch):
    """OpenAI's files are such. The tensors come out of the archive; torch.jit.load is never
    called."""

    class Scripted(torch.nn.Module):
        def __init__(self, state: dict[str, torch.Tensor]) -> None:
            super().__init__()
            self.names = [1, 2]
            for name, tensor in state.items():
                *path, last = name.split(".")
                module = self
                for part in path:
                    if not hasattr(module, part):
                        module.add_module(part, torch.nn.Module())
                    module = getattr(module, part)
                module.register_buffer(last, tensor)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    model = random_model(True)
    state = {k: v.half() for k, v in state_of(model).items()}
    numbers = {
        k: torch.tensor(v)
        for k, v in (("input_resolution", 32), ("context_length", 16), ("vocab_size", 100))
    }
    torch.jit.save(torch.jit.script(Scripted(state | numbers)), tmp_path / "ViT.pt")
    monkeypatch.setattr(torch.jit, "load", None)
    monkeypatch.setattr(torch, "load", None)
    encoder = build(tmp_path / "ViT.pt")
    assert isinstance(encoder.model.transformer.resblocks[0].mlp.gelu, QuickGELU)
    found = encoder.model.state_dict()
    assert all(torch.equal(found[name].half(), tensor) for name, tensor in state.items())
