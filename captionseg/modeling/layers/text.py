"""CLIP's text transformer: causal, pre-norm, QuickGELU, read out at the end-of-text token."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from captionseg.modeling.layers.transformer import Block


class TextTransformer(nn.Module):
    """CLIP's text encoder (Radford et al. 2021): one vector per text.

    Args:
        width: width of the blocks.
        depth: number of blocks.
        heads: number of attention heads.
        context: maximum length of a text in tokens.
        vocabulary: number of tokens; the last is the end of a text.
    """

    def __init__(
        self,
        width: int = 256,
        depth: int = 12,
        heads: int = 4,
        context: int = 77,
        vocabulary: int = 49408,
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList(
            Block(width, heads, causal=True, quick=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.initialise(width, depth)

    def initialise(self, width: int, depth: int) -> None:
        """Initialise the weights as CLIP's released code does."""
        nn.init.normal_(self.token.weight, std=0.02)
        nn.init.normal_(self.position, std=0.01)
        out = width**-0.5 * (2 * depth) ** -0.5
        stds = {
            "attn.qkv.weight": width**-0.5,
            "mlp.fc1.weight": (2 * width) ** -0.5,
            "attn.proj.weight": out,
            "mlp.fc2.weight": out,
        }
        for name, parameter in self.blocks.named_parameters():
            if (std := stds.get(name.split(".", 1)[1])) is not None:
                nn.init.normal_(parameter, std=std)

    def forward(self, tokens: Int64[Tensor, "text token"]) -> Float[Tensor, "text channel"]:
        """Encode texts. Each is ended by the largest token and padded with zeros, which causal
        attention hides.
        """
        # columns after the end of the longest text change nothing
        tokens = tokens[:, : int(tokens.argmax(1).max()) + 1]
        x = self.token(tokens) + self.position[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x[torch.arange(len(x), device=x.device), tokens.argmax(1)])
