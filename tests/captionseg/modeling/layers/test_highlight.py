"""Parts of pictures by hand: cells that a mask shows, and what stands in place of the others."""

from __future__ import annotations

import torch

from captionseg.encoders.text_space import PictureEncoder
from captionseg.modeling.layers.highlight import Highlight

FROZEN = torch.tensor([[[[3.0, 0.0], [0.0, 5.0]]]])  # [1, 1, 2, 2]: two cells
LEFT = torch.tensor([[[[1.0, 0.0]]]])


def test_a_hidden_cell_is_nothing_or_the_prompt():
    torch.testing.assert_close(
        Highlight(2, 2, prompt=False).cells(LEFT, FROZEN), torch.tensor([[[1.0, 0.0]]])
    )
    net = Highlight(2, 2, prompt=True)
    assert net.prompt is not None
    # it starts at zero
    torch.testing.assert_close(net.cells(LEFT, FROZEN), torch.tensor([[[1.0, 0.0]]]))
    net.prompt.data[1] = 4.0
    # (3, 0) + (0, 4)
    torch.testing.assert_close(net.cells(LEFT, FROZEN), torch.tensor([[[0.6, 0.8]]]))


def test_a_mask_that_shows_nothing_has_a_gentle_gradient():
    masks = torch.zeros(1, 1, 1, 2, requires_grad=True)
    found = Highlight(2, 2, prompt=False).cells(masks, FROZEN)
    assert found.abs().max().item() == 0.0
    found.sum().backward()
    assert torch.isfinite(masks.grad).all()
    assert masks.grad.abs().max() < 1e3


def test_pixels_are_hidden_before_the_encoder_sees_them():
    """An encoder that sums each channel over the left and the right column of a picture of two
    columns.
    """

    def towers(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels[:, 0].sum(1), pixels.permute(0, 2, 3, 1)

    live, image = PictureEncoder(towers, None), torch.ones(1, 3, 2, 2)
    whole = torch.ones(1, 1, 1, 1)
    before = Highlight(3, 2, prompt=False).pixels(
        torch.cat([whole.expand(1, 1, 1, 2), LEFT], 1), image, live
    )
    expected = live.embed(torch.stack([image[0], image[0] * torch.tensor([1.0, 0.0])]))
    torch.testing.assert_close(before[0], torch.nn.functional.normalize(expected, dim=1))
    net = Highlight(3, 2, prompt=True)
    net.prompt.data[:] = 1.0  # what is hidden looks like what is there
    found = net.pixels(torch.cat([whole.expand(1, 1, 1, 2), LEFT], 1), image, live)
    torch.testing.assert_close(found[0, 0], found[0, 1])
    assert not torch.allclose(before[0, 0], before[0, 1])
