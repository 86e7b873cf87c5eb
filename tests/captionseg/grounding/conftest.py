"""A Grounding DINO of half a million random weights, with the packaged word pieces of BERT."""

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    SwinConfig,
)

from captionseg.storage import package_path
from captionseg.text.tokenizers import DEFAULT_BERT


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(str(package_path(*DEFAULT_BERT)), local_files_only=True)


@pytest.fixture(scope="module")
def model() -> GroundingDinoForObjectDetection:
    torch.manual_seed(0)
    bert = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    swin = SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=2, out_indices=[2, 3, 4]
    )
    config = GroundingDinoConfig(
        backbone_config=swin, text_config=bert, num_queries=12, d_model=32, encoder_layers=1, decoder_layers=2,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    return GroundingDinoForObjectDetection(config).eval()


@pytest.fixture(scope="module")
def processor() -> GroundingDinoImageProcessor:
    return GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
