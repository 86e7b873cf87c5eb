"""Maps dense features to the joint space, cell by cell: frozen in MaskCLIP, copied and trained in
TCL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.records import UserError
from captionseg.typed import Natural


@dataclass(frozen=True)
class HeadConfig:
    """Configuration of a DenseHead.

    Attributes:
        width: F, width of the dense features; 0 takes all fields from the data.
        out: D, width of the joint space.
        hidden: hidden width of the MLP of the last block; 0 means a linear map without a block.
        quick: whether the MLP has QuickGELU, as in OpenAI's CLIP.
    """

    width: Natural = 0
    out: Natural = 0
    hidden: Natural = 0
    quick: bool = False


class Standardise(nn.Module):
    """(x - mean) / scale."""

    mean: Float[Tensor, " feature"]
    scale: Float[Tensor, " feature"]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, x: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Standardise features."""
        return (x - self.mean) / self.scale


class ValueBlock(nn.Module):
    """A pre-norm transformer block in which each token attends only to itself (MaskCLIP).

    Attention is then the projected value of the token.

    Args:
        width: width of tokens.
        hidden: hidden width of the MLP.
        quick: whether the MLP has QuickGELU.
    """

    def __init__(self, width: int, hidden: int, *, quick: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.value, self.proj = nn.Linear(width, width), nn.Linear(width, width)
        self.fc1, self.fc2, self.quick = nn.Linear(width, hidden), nn.Linear(hidden, width), quick

    def forward(self, x: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Apply the block to each token."""
        return self.feed_forward(x + self.proj(self.value(self.norm1(x))))

    def feed_forward(self, x: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        """Apply what follows the attention: norm, MLP and residual."""
        inner = self.fc1(self.norm2(x))
        return x + self.fc2(inner * torch.sigmoid(1.702 * inner) if self.quick else F.gelu(inner))


class DenseHead(nn.Module):
    """Maps dense features to the joint space by a block, a norm and a projection;
    not normalised.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.block = (
            ValueBlock(width, config.hidden, quick=config.quick)
            if config.hidden
            else Standardise(width)
        )
        self.norm = nn.LayerNorm(width) if config.hidden else nn.Identity()
        self.weight = nn.Parameter(torch.eye(width, config.out))

    def project(self, x: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch embedding"]:
        """Project the output of the block into the joint space."""
        return self.norm(x) @ self.weight

    def forward(self, dense: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch embedding"]:
        """Return features of the joint space."""
        return self.project(self.block(dense))


def build_alignment_head(
    mean: Float[Tensor, " feature"],
    scale: Float[Tensor, " feature"],
    weight: Float[Tensor, "feature embedding"],
) -> DenseHead:
    """Build the head of an encoder that is not aligned with text, from its alignment."""
    head = DenseHead(HeadConfig(weight.shape[0], weight.shape[1]))
    head.load_state_dict({"block.mean": mean, "block.scale": scale, "weight": weight})
    return head.requires_grad_(False)


def build_joint_head(width: int) -> DenseHead:
    """Build the head of dense features that already lie in the joint space: the identity."""
    return DenseHead(HeadConfig(width, width)).requires_grad_(False)


@torch.no_grad()
def build_vit_head(visual: Any) -> DenseHead:
    """Build the head of a ViT of open_clip: its last block, norm and projection.

    Raises:
        UserError: if its MLPs have neither GELU nor QuickGELU.
    """
    last = visual.transformer.resblocks[-1]
    linear = [m for m in last.mlp.children() if isinstance(m, nn.Linear)]
    act = next(m for m in last.mlp.children() if not isinstance(m, nn.Linear))
    quick = type(act).__name__ == "QuickGELU"
    if not quick and not isinstance(act, nn.GELU):
        raise UserError(
            f"index.open_clip.model: MLPs with {type(act).__name__} are not supported; use a ViT "
            "with GELU or QuickGELU"
        )
    width = linear[0].in_features
    weight = torch.eye(width) if visual.proj is None else visual.proj
    head = DenseHead(HeadConfig(width, weight.shape[1], linear[0].out_features, quick))
    head.weight.copy_(weight)
    head.norm.load_state_dict(visual.ln_post.state_dict())
    block: Any = head.block
    block.norm1.load_state_dict(last.ln_1.state_dict())
    block.norm2.load_state_dict(last.ln_2.state_dict())
    block.value.weight.copy_(last.attn.in_proj_weight[2 * width :])
    block.value.bias.copy_(last.attn.in_proj_bias[2 * width :])
    block.fc1.load_state_dict(linear[0].state_dict())
    for own, layer, scale in (
        (block.proj, last.attn.out_proj, last.ls_1),
        (block.fc2, linear[1], last.ls_2),
    ):
        # the scale of the branch (LayerScale), if there is one
        gamma = getattr(scale, "gamma", torch.ones_like(layer.bias))
        own.weight.copy_(gamma[:, None] * layer.weight)
        own.bias.copy_(gamma * layer.bias)
    return head.requires_grad_(False)
