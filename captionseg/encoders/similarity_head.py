"""Training-free attention of the last block by similarity of tokens: SCLIP and NACLIP.

In CLIP's last block queries and keys ask for the whole picture. Both papers let patches attend to
patches like them instead, and keep all weights. z are the tokens before the block, with the class
token; q, k and v are those of its attention, by heads of d channels.

- SCLIP (Wang et al., arXiv 2312.01597), correlative self-attention: softmax(q q' / sqrt(d)) +
  softmax(k k' / sqrt(d)) weigh v; residual and MLP follow.
- NACLIP (Hajimiri et al., arXiv 2404.08181), neighbour-aware attention: softmax(k k' / sqrt(d) + w)
  weighs v, where w is a Gaussian of the distance of two patches, 1 for a patch and itself; there is
  neither residual nor MLP.

The block's norm, the output projection, the final norm and CLIP's projection are as they were.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.dense_head import DenseHead, build_vit_head
from captionseg.records import UserError
from captionseg.runtime.device import full_precision

Similarity = Literal["sclip", "naclip"]
DEVIATION = 5.0
"""Standard deviation of NACLIP's Gaussian, in patches (section 4.1)."""


class SimilarityHead(nn.Module):
    """Maps tokens before the last block of a ViT to the joint space.

    Args:
        head: the block with its norm and projection.
        heads: number of attention heads.
        form: sclip or naclip.
    """

    def __init__(self, head: DenseHead, heads: int, form: Similarity) -> None:
        super().__init__()
        width = head.config.width
        self.head, self.heads = head, heads
        self.form: Similarity = form
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "batch token channel"], grid: tuple[int, int]
    ) -> Float[Tensor, "batch rows columns embedding"]:
        """Return the features of the patches, not normalised.

        Args:
            tokens: the class token, then the patches row by row.
            grid: rows and columns of patches.
        """
        block: Any = self.head.block
        normed = block.norm1(tokens)
        query, key, value = (
            layer(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, block.value)
        )
        weights = weigh(query, key, self.form, grid=grid).to(value.dtype)
        x = block.proj((weights @ value).transpose(1, 2).flatten(2))
        if self.form == "sclip":
            x = block.feed_forward(tokens + x)
        return self.head.project(x[:, 1:]).unflatten(1, grid)


def weigh(
    query: Float[Tensor, "batch head token channel"],
    key: Float[Tensor, "batch head token channel"],
    form: Similarity,
    *,
    grid: tuple[int, int],
) -> Float[Tensor, "batch head token token"]:
    """Return the weights of attention, whose rows sum to 2 (sclip) or 1 (naclip).

    Args:
        query: of the class token and the patches.
        key: likewise.
        form: sclip or naclip.
        grid: rows and columns of patches.
    """
    with full_precision(query):
        query, key = query.float(), key.float()
        scale = query.shape[3] ** -0.5
        by_key = scale * key @ key.transpose(2, 3)
        if form == "naclip":
            near = F.pad(measure_nearness(*grid), (1, 0, 1, 0)).to(by_key)
            return (by_key + near).softmax(3)
        return (scale * query @ query.transpose(2, 3)).softmax(3) + by_key.softmax(3)


def measure_nearness(
    rows: int, columns: int, deviation: float = DEVIATION
) -> Float[Tensor, "patch patch"]:
    """Return exp(-distance^2 / (2 deviation^2)) of all patches of a grid."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2).float()
    return torch.exp(torch.cdist(places, places).square() / (-2.0 * deviation**2))


@torch.no_grad()
def build_similarity_head(visual: Any, form: Similarity) -> SimilarityHead:
    """Build the head of a ViT of open_clip.

    Raises:
        UserError: if its last block has another kind of attention or MLP than CLIP's.
    """
    attention = visual.transformer.resblocks[-1].attn
    if not isinstance(attention, nn.MultiheadAttention):
        raise UserError(
            f"index.open_clip.dense: {form} needs attention like CLIP's in the last block, not "
            f"{type(attention).__name__}; use joint"
        )
    made = SimilarityHead(build_vit_head(visual), attention.num_heads, form)
    width = attention.embed_dim
    for layer, part in ((made.query, slice(width)), (made.key, slice(width, 2 * width))):
        layer.weight.copy_(attention.in_proj_weight[part])
        layer.bias.copy_(attention.in_proj_bias[part])
    return made.requires_grad_(False)
