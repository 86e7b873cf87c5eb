"""Small grounders: Grounding DINO in parts, OWLv2 in a folder."""

import pytest
import torch
from transformers import (
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessor,
)

from tests.tiny_sam3 import make_tokenizer


@pytest.fixture(scope="module")
def tokenizer(grounding_dino):
    return grounding_dino[1]


@pytest.fixture(scope="module")
def model(grounding_dino) -> GroundingDinoForObjectDetection:
    return grounding_dino[0]


@pytest.fixture(scope="module")
def processor() -> GroundingDinoImageProcessor:
    return GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})


@pytest.fixture(scope="session")
def owlv2_folder(tmp_path_factory) -> str:
    """The folder of a random OWLv2, whose boxes are near their patches."""
    path = tmp_path_factory.mktemp("owlv2")
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 16
    size = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2}
    size["num_hidden_layers"] = 1
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 16}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = {"image_size": 32, "patch_size": 8}
    model = Owlv2ForObjectDetection(
        Owlv2Config(text_config=size | text, vision_config=size | vision, projection_dim=16)
    )
    for name, parameter in model.named_parameters():
        if name.startswith("box_head"):
            parameter.data *= 0.2  # boxes near their patches
        elif "text" not in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    model.owlv2.text_model.embeddings.token_embedding.weight.data *= 50
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    Owlv2ImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    return str(path)
