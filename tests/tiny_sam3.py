"""The folder of a tiny random SAM 3, as transformers saves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer, Sam3Config, Sam3ImageProcessor, Sam3Model

SIDE, CONTEXT, QUERIES, WIDTH = 28, 32, 5, 16
WORDS = ("a", "dog", "cat", "red", "green", "blue", "square", "ground", "grass", "sky")


def make_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose words are WORDS and whose other tokens are letters; "!" is 0."""
    letters = ["!", *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    for letter in letters:
        vocabulary[f"{letter}</w>"] = len(vocabulary)
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            merges += [] if pair in merges else [pair]
            pieces[:2] = ["".join(pair)]
            vocabulary.setdefault(pieces[0], len(vocabulary))
    for token in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[token] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges)


def make_config(tokenizer: Any) -> Sam3Config:
    """Pictures of 2 x 2 patches of 14 pixels."""
    size = {"hidden_size": WIDTH, "intermediate_size": 24, "num_attention_heads": 2}
    detr = size | {"num_layers": 1, "dropout": 0.0}
    return Sam3Config(
        vision_config={
            "backbone_config": size
            | {
                "model_type": "sam3_vit_model",
                "num_hidden_layers": 1,
                "image_size": SIDE,
                "patch_size": 14,
                "pretrain_image_size": SIDE,
                "window_size": 2,
                "global_attn_indexes": [0],
            },
            "fpn_hidden_size": WIDTH,
            "backbone_feature_sizes": [[8, 8], [4, 4], [2, 2]],
        },
        text_config=size
        | {
            "model_type": "clip_text_model",
            "vocab_size": len(tokenizer),
            "num_hidden_layers": 1,
            "max_position_embeddings": CONTEXT,
            "projection_dim": 8,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.eos_token_id,
        },
        geometry_encoder_config=detr,
        detr_encoder_config=detr,
        detr_decoder_config=detr | {"num_queries": QUERIES},
        mask_decoder_config={"hidden_size": WIDTH, "num_attention_heads": 2},
    )


def save_sam3(folder: Path) -> str:
    """Save model, tokenizer and processor; words change what is found, since no norm is plain."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    model: Any = Sam3Model(make_config(tokenizer))
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Sam3ImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return str(folder)
