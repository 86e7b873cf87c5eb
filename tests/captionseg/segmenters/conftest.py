"""Segment Anything models with tiny random weights."""

from functools import partial

import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling import Sam as SamModel


@pytest.fixture(scope="module")
def model() -> SamModel:
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        depth=1,
        embed_dim=16,
        img_size=64,
        mlp_ratio=2,
        num_heads=2,
        patch_size=16,
        out_chans=16,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        window_size=2,
    )
    prompts = PromptEncoder(
        embed_dim=16, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=4
    )
    decoder = MaskDecoder(
        transformer_dim=16,
        num_multimask_outputs=3,
        iou_head_hidden_dim=16,
        transformer=TwoWayTransformer(depth=1, embedding_dim=16, mlp_dim=16, num_heads=2),
    )
    return SamModel(encoder, prompts, decoder).eval()


@pytest.fixture(scope="session")
def sam_folders(tmp_path_factory) -> dict[str, str]:
    """Kind -> the folder of a SAM 2 and of a SAM-HQ of transformers."""
    from tests.captionseg.segmenters.tiny_sams import save

    return {kind: save(kind, tmp_path_factory.mktemp(kind)) for kind in ("sam2", "sam_hq")}
