"""Models that replace the attention of a frozen encoder: what they share."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
import torch
from torch.nn import functional as F

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.last_block import Attended, Mixed
from captionseg.encoders.text_space import TextSpace, denormalise
from captionseg.modeling.models import MODELS
from captionseg.modeling.sclip import SclipConfig
from captionseg.modeling.segmenter import Start
from captionseg.modeling.training_free import TrainingFree, compare_cells
from captionseg.prepared import pixel_inputs
from captionseg.records import UserError
from tests.captionseg.modeling.tiny_vit import TinyVit


class First(TrainingFree):
    """Each patch takes the value of the first one, as grey as the picture."""

    name = "first"

    def mix(self, attended: Attended, image: torch.Tensor) -> Mixed:
        first = attended.value[:, :, 1:2].expand(-1, -1, 6, -1)
        return Mixed(first * image.mean((1, 2, 3))[:, None, None, None], attended.grid)


def test_cosines_by_hand():
    dense = torch.tensor([[[[2.0, 0.0], [3.0, 4.0]]]])
    found = compare_cells(dense, torch.tensor([[5.0, 0.0], [0.0, 1.0]]))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([[1.0, 0.6], [0.0, 0.8]]))


def test_values_are_mixed_by_the_method_and_follow_the_encoders_own_way():
    """The encoder sees pixels in 0..255, the method pictures as models see them."""
    encoder = TinyVit(5)
    model, image = First(SclipConfig()), torch.randn(2, 3, 32, 48)
    model.start(Start(torch.zeros(1, 1), Mock(spec=TextSpace, encoder=encoder)))
    found = model.dense(image)
    cell = encoder.patches(denormalise(image) / 50.0)[:, :, 0, 0]
    value = encoder.qkv(cell)[:, 16:] * image.mean((1, 2, 3))[:, None]
    expected = encoder.last(encoder.proj(value))
    torch.testing.assert_close(found, expected[:, None, None].expand(2, 2, 3, 5))
    assert not found.requires_grad
    classes = torch.randn(4, 5)
    inputs = pixel_inputs(image, (8, 12))
    scores = F.normalize(expected, dim=1) @ F.normalize(classes, dim=1).T
    torch.testing.assert_close(
        model.segment(inputs, classes), scores[:, :, None, None].expand(2, 4, 8, 12)
    )


@pytest.mark.parametrize("name", ["sclip", "naclip", "proxyclip"])
def test_members_name_themselves_and_refuse_other_encoders(name):
    config, module = MODELS[name]
    model = module(config())
    assert (model.name, list(model.state_dict())) == (name, [])
    assert not any(p.requires_grad for p in model.parameters())
    reads = model.config.reads
    assert (reads.picture, reads.windows, reads.holds_encoder, reads.space) == (
        224,
        True,
        True,
        True,
    )
    with pytest.raises(UserError, match=f"model {name} replaces the attention of a ViT"):
        model.attach(Mock(spec=Encoder))
