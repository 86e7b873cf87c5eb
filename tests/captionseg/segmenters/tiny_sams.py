"""Folders of a tiny random SAM 2 and SAM-HQ, as transformers saves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Sam2Config,
    Sam2ImageProcessor,
    Sam2Model,
    SamHQConfig,
    SamHQModel,
    SamImageProcessor,
)

SIDE, WIDTH = 64, 16
DECODER = {
    "hidden_size": WIDTH,
    "mlp_dim": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": WIDTH,
}
PROMPTS = {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4}


def make_sam2() -> Any:
    """Pictures become squares of 64 pixels, masks 16 x 16."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "image_size": [SIDE, SIDE],
        "hidden_size": 4,
        "num_attention_heads": 1,
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [4, 8, 16, 32],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [8, 4, 4, 4],
        "window_positional_embedding_background_size": [2, 2],
        "global_attention_blocks": [3],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [32, 16, 8, 4],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": WIDTH,
    }
    return Sam2Model(
        Sam2Config(vision_config=vision, prompt_encoder_config=PROMPTS, mask_decoder_config=DECODER)
    )


def make_sam_hq() -> Any:
    """Pictures have a longer side of 64 pixels, masks 16 x 16."""
    vision = {
        "hidden_size": WIDTH,
        "output_channels": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "window_size": 2,
        "global_attn_indexes": [1],
        "num_pos_feats": WIDTH // 2,
        "mlp_dim": 24,
        "initializer_range": 0.02,
    }
    decoder = DECODER | {"vit_dim": WIDTH}
    return SamHQModel(
        SamHQConfig(
            vision_config=vision, prompt_encoder_config=PROMPTS, mask_decoder_config=decoder
        )
    )


def save(kind: str, folder: Path) -> str:
    """Save a model of a kind, sam2 or sam_hq, with its processor."""
    torch.manual_seed(0)
    model = make_sam2() if kind == "sam2" else make_sam_hq()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    processor: Any = (
        Sam2ImageProcessor(size=square)
        if kind == "sam2"
        else SamImageProcessor(size={"longest_edge": SIDE}, pad_size=square)
    )
    processor.save_pretrained(folder)
    return str(folder)


def draw_box(x0: int, y0: int, x1: int, y1: int, soft: int = 0) -> torch.Tensor:
    """Draw the logits of a box in a picture of 12 x 16; of its columns so many are unsure."""
    logits = torch.full((12, 16), -9.0)
    logits[y0:y1, x0:x1] = 9.0
    logits[y0:y1, x0 : x0 + soft] = 0.5
    return logits
