"""CLIP's text transformer against that of transformers, with random weights, is in
test_groupvit_checkpoint.
"""

import torch

from captionseg.modeling.layers.text import TextTransformer


def test_read_out_at_the_end_of_the_text_whatever_follows():
    torch.manual_seed(0)
    net = TextTransformer(8, 2, 2, context=10, vocabulary=50).eval()
    tokens = torch.tensor([[48, 5, 7, 49, 0, 0], [48, 3, 49, 0, 0, 0]])
    out = net(tokens)
    torch.testing.assert_close(out[0], net(tokens[:1, :4])[0])  # padding is not seen
    torch.testing.assert_close(out[1], net(tokens[1:, :3])[0])
    assert not torch.allclose(out[0], net(torch.tensor([[48, 7, 5, 49]]))[0])  # order is
