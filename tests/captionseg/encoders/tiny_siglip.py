"""Folders of tiny random models, as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    Tipsv2Config,
    Tipsv2ImageProcessor,
    Tipsv2Model,
    Tipsv2Tokenizer,
)

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
LETTERS = [*SPECIAL, *"▁abcdefghijklmnopqrstuvwxyz"]
WORDS = [*SPECIAL, "a", "dog", "photo", "of", "cat", "runs", "grass", "very", "large", "herd"]
WORDS += [f"word{n}" for n in range(len(LETTERS) - len(WORDS))]
VOCABULARY = len(LETTERS)
CONTEXT = 8
SMALL = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = SMALL | {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "projection_size": 24}
VISION = SMALL | {"patch_size": 8}


def save_siglip(kind: str, folder: Path, **text: Any) -> str:
    """Save a model of a kind, siglip or siglip2 (NaFlex), with its tokenizer and processor.

    Pictures have 4 x 4 patches of 8 pixels; no bias is zero, no norm the identity.
    """
    torch.manual_seed(0)
    if kind == "siglip2":
        config: Any = Siglip2Config(
            text_config=TEXT | text, vision_config=VISION | {"num_patches": 16}
        )
        model: Any = Siglip2Model(config)
        processor: Any = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    else:
        config = SiglipConfig(text_config=TEXT | text, vision_config=VISION | {"image_size": 32})
        model = SiglipModel(config)
        processor = SiglipImageProcessor(size={"height": 32, "width": 32})
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    make_tokenizer(kind).save_pretrained(folder)
    return str(folder)


def make_tokenizer(kind: str) -> Any:
    """A tokenizer that ends texts by <eos>: of words for siglip, of letters for siglip2, whose
    class transformers makes from the vocabulary, and which pads on the left if nobody says how.
    """
    if kind == "siglip2":
        tokenizer: Any = Siglip2Tokenizer(vocab=dict(zip(LETTERS, range(VOCABULARY))), merges=[])
        encode = tokenizer.backend_tokenizer
    else:
        vocabulary = dict(zip(WORDS, range(VOCABULARY)))
        encode = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        encode.pre_tokenizer = pre_tokenizers.Whitespace()
    encode.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    names = {"unk_token": "<unk>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return (
        tokenizer
        if kind == "siglip2"
        else PreTrainedTokenizerFast(tokenizer_object=encode, **names)
    )


def save_tips(folder: Path) -> str:
    """Save a TIPSv2 with its tokenizer and processor; no bias is zero, no norm the identity."""
    torch.manual_seed(0)
    small = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT, "intermediate_size": 40}
    config = Tipsv2Config(
        text_config=small | text, vision_config=small | {"patch_size": 8, "image_size": 32}
    )
    model: Any = Tipsv2Model(config)
    for name, parameter in model.named_parameters():
        if name != "temperature":
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    Tipsv2ImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    vocabulary = {
        word: n for n, word in enumerate(["<pad>", "<unk>", "<s>", *LETTERS[4:], "<more>"])
    }
    Tipsv2Tokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return str(folder)
