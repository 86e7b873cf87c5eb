"""Attention, MLP and pre-norm transformer blocks."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.modeling.layers.batch_norm import BatchNorm


class Mlp(nn.Module):
    """Linear, GELU, linear over the last axis.

    Args:
        width: input width.
        hidden: hidden width.
        out: output width; None means `width`.
        quick: whether the activation is QuickGELU, x sigmoid(1.702 x), as in OpenAI's CLIP.
    """

    def __init__(
        self, width: int, hidden: int, out: int | None = None, *, quick: bool = False
    ) -> None:
        super().__init__()
        self.fc1, self.fc2, self.quick = (
            nn.Linear(width, hidden),
            nn.Linear(hidden, out or width),
            quick,
        )

    def forward(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch out"]:
        """Apply the MLP to the last axis."""
        x = self.fc1(x)
        return self.fc2(x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x))


class SelfAttention(nn.Module):
    """Multi-head self-attention; q, k and v are computed by one matrix product."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "batch token channel"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token channel"]:
        """Attend to tokens; those with a False `mask` are ignored."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attention_mask = None if mask is None else mask[:, None, None]
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=attention_mask, is_causal=self.causal and mask is None
        )
        return self.proj(out.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head attention of queries to other tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))

    def forward(
        self,
        query: Float[Tensor, "batch query channel"],
        tokens: Float[Tensor, "batch token channel"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch query channel"]:
        """Attend to tokens; those with a False `mask` are ignored."""
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(query), self.k(tokens), self.v(tokens))
        )
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=None if mask is None else mask[:, None, None]
        )
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + MLP(norm(x)).

    Args:
        width: width of tokens.
        heads: number of attention heads.
        ratio: hidden width of the MLP relative to `width`.
        drop_path: probability that a branch is dropped per sample in training.
        eps: of the norms.
        causal: whether tokens attend only to earlier tokens and themselves.
        quick: see Mlp.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        ratio: float = 4.0,
        drop_path: float = 0.0,
        eps: float = 1e-5,
        causal: bool = False,
        quick: bool = False,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.attn = SelfAttention(width, heads, causal=causal)
        self.mlp = Mlp(width, int(ratio * width), quick=quick)
        self.drop_path = drop_path

    def forward(
        self,
        x: Float[Tensor, "batch token channel"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token channel"]:
        """Apply the block; `mask` is False for padding."""
        x = x + self.drop_branch(self.attn(self.norm1(x), mask))
        return x + self.drop_branch(self.mlp(self.norm2(x)))

    def drop_branch(
        self, branch: Float[Tensor, "batch token channel"]
    ) -> Float[Tensor, "batch token channel"]:
        """Drop the branch of some samples in training: stochastic depth (Huang et al. 2016)."""
        if not self.training or not self.drop_path:
            return branch
        keep = 1.0 - self.drop_path
        return branch * (torch.rand(len(branch), 1, 1, device=branch.device) < keep) / keep


class CrossBlock(nn.Module):
    """Cross-attention with residual, a pre-norm MLP with residual, and a final norm.

    Args:
        width: width of queries and tokens.
        heads: number of attention heads.
        ratio: hidden width of the MLP relative to `width`.
    """

    def __init__(self, width: int, heads: int, *, ratio: float = 4.0) -> None:
        super().__init__()
        self.attn = CrossAttention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width), Mlp(width, int(ratio * width))
        self.norm_post = nn.LayerNorm(width)

    def forward(
        self,
        query: Float[Tensor, "batch query channel"],
        tokens: Float[Tensor, "batch token channel"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch query channel"]:
        """Apply the block to queries; `mask` is False for padding of tokens."""
        x = query + self.attn(query, tokens, mask)
        return self.norm_post(x + self.mlp(self.norm2(x)))


Norm = Literal["batch", "layer"]


class Projector(nn.Module):
    """GroupViT's projector into the joint space: linear, norm, ReLU, linear.

    Args:
        width: input width.
        hidden: hidden width.
        out: width of the joint space.
        norm: batch normalises over all vectors of a call, on all ranks; layer does not depend on
            the batch.
    """

    def __init__(self, width: int, hidden: int, out: int, *, norm: Norm = "batch") -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, out)
        self.norm = BatchNorm(hidden) if norm == "batch" else nn.LayerNorm(hidden)

    def forward(
        self, x: Float[Tensor, "*batch channel"], *, observe: bool = True
    ) -> Float[Tensor, "*batch embedding"]:
        """Project vectors; the result is not normalised.

        Args:
            x: vectors.
            observe: see BatchNorm; False for vectors that the projector is not trained to project.

        Raises:
            ValueError: for a single vector in training with norm: batch (raised by torch).
        """
        hidden = self.fc1(x.flatten(0, -2))
        normed = (
            self.norm(hidden, observe=observe)
            if isinstance(self.norm, BatchNorm)
            else self.norm(hidden)
        )
        return self.fc2(F.relu(normed)).unflatten(0, x.shape[:-1])
