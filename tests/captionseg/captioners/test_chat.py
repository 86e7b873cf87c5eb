"""A chat model with tiny random weights, loaded from its folder: what is drawn, and what goes
wrong.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from captionseg.captioners.captioner import PROMPT, CaptionError, Decoding
from captionseg.captioners.captioners import CaptionParams
from captionseg.captioners.chat import ChatParams, sample_tokens
from captionseg.records import UserError

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 256, (h, w, 3), dtype=np.uint8)
    for h, w in ((40, 60), (10, 10), (3, 50), (1, 1))
]
GIVEN = ["a dog", "a dog on the grass with brown ears", "dog", ""]


def build(checkpoint, **changes):
    """Of changes, those of Decoding go there."""
    options = {
        "device": "cpu",
        "precision": "fp32",
        "max_new_tokens": 8,
        "top_p": 1.0,
        "top_k": 0,
        **changes,
    }
    decoding = Decoding(
        **{k: options.pop(k) for k in Decoding.__dataclass_fields__ if k in options}
    )
    return CaptionParams(
        captioner="chat", chat=ChatParams(str(checkpoint), decoding=decoding, **options)
    ).build()


def test_the_defaults_are_the_papers():
    params = ChatParams().decoding
    assert (params.temperature, params.top_p, params.top_k) == (0.8, 0.4, 5)
    assert params.prompt == PROMPT
    assert PROMPT.endswith("specifically mention ALL VISIBLE parts of each object in the image.")


def test_only_what_was_generated_comes_back(checkpoint):
    answers = build(checkpoint, prompt="describe this image short caption {caption}").captions(
        IMAGES, GIVEN
    )
    assert len(answers) == 4
    for answer in answers:
        assert "USER" not in answer
        assert not {"<image>", "<pad>", "</s>"} & set(answer.split())
        assert len(answer.split()) <= 8
    assert len(set(answers)) > 1


def test_a_caption_does_not_depend_on_the_pictures_beside_it(checkpoint):
    captioner = build(checkpoint, prompt="describe {caption}")
    together = captioner.captions(IMAGES, GIVEN)
    alone = [captioner.captions([image], [text])[0] for image, text in zip(IMAGES, GIVEN)]
    assert together == alone
    backwards = captioner.captions(IMAGES[::-1], GIVEN[::-1])
    assert backwards[::-1] == together


def test_a_model_that_keeps_the_size_of_pictures(qwen):
    captioner = build(qwen, prompt="describe {caption}")
    given = ["a dog", "a <|image_pad|> dog", "ears </s>", ""]
    together = captioner.captions(IMAGES, given)
    assert together == [
        captioner.captions([image], [text])[0] for image, text in zip(IMAGES, given)
    ]
    with pytest.raises(CaptionError, match="aspect ratio"):
        captioner.captions([np.zeros((1, 300, 3), np.uint8)], ["a dog"])


def test_another_seed_draws_another_caption_and_temperature_zero_draws_none(checkpoint):
    assert build(checkpoint).captions(IMAGES, GIVEN) != build(checkpoint, seed=1).captions(
        IMAGES, GIVEN
    )
    one, other = (
        build(checkpoint, seed=seed, temperature=0.0).captions(IMAGES, GIVEN) for seed in (0, 1)
    )
    assert one == other


def test_a_given_caption_of_3000_words(checkpoint):
    (answer,) = build(checkpoint, prompt="{caption}").captions(IMAGES[:1], ["a dog " * 1500])
    assert isinstance(answer, str)


def test_a_given_caption_cannot_write_the_models_own_marks(checkpoint):
    captioner = build(checkpoint, prompt="describe {caption}")
    captioner.captions(IMAGES[:1], ["a <image> dog </s> <pad>"])


def test_no_picture_no_caption(checkpoint):
    assert build(checkpoint).captions([], []) == []


def test_what_the_model_cannot_do_is_this_pictures_failure(checkpoint, monkeypatch):
    captioner = build(checkpoint)

    def generate(**_):
        raise torch.OutOfMemoryError("out of memory\nTried to allocate")

    monkeypatch.setattr(captioner.model, "generate", generate)
    with pytest.raises(CaptionError, match="OutOfMemoryError: out of memory Tried"):
        captioner.captions(IMAGES[:1], GIVEN[:1])


def test_half_precision(checkpoint):
    captioner = build(checkpoint, precision="bf16")
    assert captioner.model.dtype == torch.bfloat16
    assert len(captioner.captions(IMAGES, GIVEN)) == 4


def test_habits_of_the_checkpoint_do_not_count(checkpoint, tmp_path):
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    own = json.loads((folder / "generation_config.json").read_text())
    habits = {
        "do_sample": True,
        "temperature": 0.01,
        "top_k": 1,
        "repetition_penalty": 5.0,
        "max_length": 3,
    }
    (folder / "generation_config.json").write_text(json.dumps({**own, **habits}))
    assert build(folder).captions(IMAGES, GIVEN) == build(checkpoint).captions(IMAGES, GIVEN)


def test_the_key_is_of_model_and_question_and_not_of_the_folder(checkpoint, tmp_path):
    key = build(checkpoint).key
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    assert build(folder, batch=3).key == key
    for change in ({"prompt": "p"}, {"temperature": 0.1}, {"seed": 1}, {"max_new_tokens": 9}):
        assert build(folder, **change).key != key
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    assert build(folder).key != key


def broken(checkpoint, tmp_path, case):
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    if case == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif case == "weights":
        (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    elif case == "text":
        (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    elif case == "code":
        automatic = {"AutoConfig": "evil.Config", "AutoModelForImageTextToText": "evil.Model"}
        (folder / "config.json").write_text(
            json.dumps({**config, "model_type": "evil", "auto_map": automatic})
        )
        (folder / "evil.py").write_text("raise SystemExit('code of the folder ran')")
    elif case in ("nan", "lost"):
        tensors = load_file(folder / "model.safetensors")
        name = next(
            key for key, tensor in tensors.items() if "norm" in key and tensor.is_floating_point()
        )
        if case == "nan":
            tensors[name][0] = torch.nan
        else:
            del tensors[name]
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    elif case == "template":
        (folder / "chat_template.jinja").unlink()
    return folder


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("pickle", "no config.json with"),
        ("weights", "not a chat model"),
        ("text", "not a chat model"),
        ("code", "not a chat model"),
        ("template", "no chat template"),
        ("nan", "tensor .* contains NaN"),
        ("lost", "1 tensors are missing"),
    ],
)
def test_folders_that_will_not_do(checkpoint, tmp_path, case, message):
    with pytest.raises(UserError, match=message) as error:
        build(broken(checkpoint, tmp_path, case))
    assert "\n" not in str(error.value)


def test_no_folder():
    for folder in ("", "no/such/folder"):
        with pytest.raises(UserError, match=r"chat.folder: .*no config.json"):
            build(folder)


def test_draws_are_those_of_transformers_warpers():
    torch.manual_seed(0)
    scores, seen = torch.randn(1, 12) * 2, None
    for temperature, top_k, top_p in (
        (0.8, 5, 0.4),
        (0.8, 5, 0.95),
        (1.5, 0, 0.7),
        (0.5, 3, 1.0),
        (2.0, 0, 1.0),
    ):
        warped = TemperatureLogitsWarper(temperature)(None, scores)
        warped = TopKLogitsWarper(top_k)(None, warped) if top_k else warped
        warped = TopPLogitsWarper(top_p)(None, warped) if top_p < 1 else warped
        uniform = (torch.arange(20_000) + 0.5) / 20_000
        tokens = sample_tokens(
            scores.expand(20_000, -1), uniform, temperature=temperature, top_p=top_p, top_k=top_k
        )
        seen = tokens.bincount(minlength=12) / 20_000
        torch.testing.assert_close(seen, warped.softmax(1)[0], atol=2e-4, rtol=0)
    assert seen is not None


def test_the_ends_of_a_draw():
    scores = torch.tensor([[0.0, 3.0, 1.0]]).expand(3, -1)
    uniform = torch.tensor([0.0, 0.999999, 1.0])
    assert sample_tokens(scores, uniform, temperature=1.0, top_p=1.0, top_k=2).tolist() == [1, 2, 2]
    assert sample_tokens(scores, uniform, temperature=0.0, top_p=1.0, top_k=0).tolist() == [1, 1, 1]
    assert sample_tokens(scores, uniform, temperature=1.0, top_p=0.0, top_k=0)[0] == 1
