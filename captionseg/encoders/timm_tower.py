"""Dense features in the joint space of open_clip's image towers that are ViTs of timm.

How a tower pools its tokens says what a single token means in the joint space:

- `token` (EVA-CLIP, MobileCLIP-B and -L): the class token is read out, so that the last block is
  applied to patches of which each attends only to itself (MaskCLIP, Zhou et al. 2022).
- `map` (SigLIP, SigLIP 2, PE-Core): a learnt query attends to the tokens, so that each token takes
  the way of the values through that head (output projection and MLP), as MaskCLIP takes it through
  the attention pooling of CLIP's ResNets.
- `avg`: each token takes the way of the mean.

In each case norms and projections follow. Class and register tokens are never part of the map.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.last_block import LastBlock, Mix, refuse_attention, split_heads
from captionseg.records import UserError

POOLINGS = ("token", "map", "avg")


def find_pooling(visual: Any) -> str:
    """Return how a tower of timm pools, one of POOLINGS; empty for a tower of another kind."""
    trunk = getattr(visual, "trunk", None)
    if trunk is None:
        return ""
    from timm.layers import AttentionPoolLatent
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    # other classes may pool or attend in other ways, though they inherit from these
    if type(trunk) not in (VisionTransformer, Eva) or trunk.global_pool not in POOLINGS:
        return ""
    pool = trunk.attn_pool
    if trunk.global_pool == "map" and not (
        type(pool) is AttentionPoolLatent and pool.pos_embed is None
    ):
        return ""
    return "" if trunk.global_pool == "token" and len(trunk.blocks) < 2 else trunk.global_pool


def find_patch(visual: Any) -> tuple[int, int]:
    """Return height and width in pixels of the patch of a token."""
    return visual.trunk.patch_embed.feat_ratio(as_scalar=False)


def find_width(visual: Any) -> int:
    """Return D, the width of the joint space."""
    linear = [m for m in (visual.trunk.head, *visual.head.modules()) if isinstance(m, nn.Linear)]
    return linear[-1].out_features if linear else visual.trunk.num_features


def resize_trunk(trunk: Any, size: Sequence[int]) -> Any:
    """Return a network for pictures of a size (height, width), with positions resized by timm.

    All other weights are shared. The size is a multiple of the patch.
    """
    if tuple(size) == tuple(trunk.patch_embed.img_size):
        return trunk
    resized = copy_module(trunk)
    for name in ("patch_embed", "rope"):
        if (part := getattr(trunk, name, None)) is not None:
            setattr(resized, name, copy_module(part))
    resized.set_input_size(tuple(size))
    return resized


def copy_module(module: nn.Module) -> Any:
    """Return a module with the same tensors and parts, any of which may be replaced in it alone."""
    copied: Any = copy.copy(module)
    for name in ("_parameters", "_buffers", "_modules"):
        setattr(copied, name, dict(getattr(module, name)))
    return copied


def embed_tokens(
    visual: Any, pixels: Float[Tensor, "batch 3 height width"]
) -> tuple[Float[Tensor, "batch embedding"], Float[Tensor, "batch rows columns embedding"]]:
    """Return image embeddings and maps, both in the joint space.

    A margin on the right and below that is less than a patch is not seen.

    Raises:
        UserError: for pictures smaller than a patch.
    """
    pixels, grid = cut_margin(visual, pixels)
    pooling = find_pooling(visual)
    trunk = resize_trunk(visual.trunk, pixels.shape[2:])
    final, before = trunk.forward_intermediates(
        pixels, indices=[max(0, len(trunk.blocks) - 2)], output_fmt="NLC"
    )
    image = visual.head(trunk.forward_head(final))
    if pooling == "token":
        tokens = trunk.norm(attend_to_self(trunk.blocks[-1], before[0]))
    else:
        tokens = final[:, trunk.num_prefix_tokens :]
    return image, pool_each(visual, tokens).unflatten(1, grid)


def cut_margin(
    visual: Any, pixels: Float[Tensor, "batch 3 height width"]
) -> tuple[Float[Tensor, "batch 3 _height _width"], tuple[int, int]]:
    """Cut off the margin on the right and below that is less than a patch; return also the rows
    and columns of patches.

    Raises:
        UserError: for pictures smaller than a patch.
    """
    patch = find_patch(visual)
    rows, columns = pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]
    if not rows * columns:
        raise UserError(
            f"index.open_clip.model: a picture of {pixels.shape[2]} x {pixels.shape[3]} pixels is "
            f"smaller than a patch of this tower, {patch[0]} x {patch[1]}"
        )
    return pixels[:, :, : rows * patch[0], : columns * patch[1]], (rows, columns)


def pool_each(
    visual: Any, tokens: Float[Tensor, "batch token channel"]
) -> Float[Tensor, "batch token embedding"]:
    """Map tokens after the final norm to the joint space, each as if the tower pooled it alone."""
    trunk = visual.trunk
    if find_pooling(visual) == "map":
        tokens = take_values(trunk.attn_pool, tokens)
    return visual.head(trunk.head(trunk.fc_norm(tokens)))


def attend_to_self(
    block: Any, tokens: Float[Tensor, "batch token channel"]
) -> Float[Tensor, "batch token channel"]:
    """Apply a transformer block of timm in which each token attends only to itself."""
    count = tokens.shape[1]
    mask = tokens.new_full((count, count), -torch.inf).fill_diagonal_(0.0)
    return block(tokens, attn_mask=mask)


def take_values(
    pool: Any, tokens: Float[Tensor, "batch token channel"]
) -> Float[Tensor, "batch token channel"]:
    """Return what an attention pooling of timm makes of each token if it attends to that alone."""
    width = pool.kv.in_features
    bias = None if pool.kv.bias is None else pool.kv.bias[width:]
    x = pool.proj(F.linear(tokens, pool.kv.weight[width:], bias))
    return x if pool.mlp is None else x + pool.mlp(pool.norm(x))


class Recorder(nn.Module):
    """Takes the place of a block and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: Tensor | None = None
        self.rope: Tensor | None = None

    def forward(self, x: Tensor, rope: Tensor | None = None, **_: Any) -> Tensor:
        """Return tokens of any shape unchanged."""
        self.tokens, self.rope = x, rope
        return x


def attend_timm(
    visual: Any, pixels: Float[Tensor, "batch 3 height width"], mix: Mix, *, residual: bool
) -> Float[Tensor, "batch rows columns embedding"]:
    """Return maps in the joint space with other attention in the last block, see AttendingEncoder.

    Raises:
        UserError: for pictures smaller than a patch.
    """
    pixels, grid = cut_margin(visual, pixels)
    trunk, last = copy_module(resize_trunk(visual.trunk, pixels.shape[2:])), Recorder()
    trunk.blocks = nn.Sequential(*trunk.blocks[:-1], last)
    trunk.forward_features(pixels)
    assert last.tokens is not None
    block = split_timm_block(visual, last.rope)
    return block.attend(last.tokens, grid, mix, residual=residual)


def split_timm_block(visual: Any, rope: Tensor | None = None) -> LastBlock:
    """Split the last block of a ViT of timm.

    Args:
        visual: the tower.
        rope: rotary positions of the patches, which queries and keys are turned by; None for none.

    Raises:
        UserError: for attention or blocks of an unknown kind.
    """
    from timm.models.eva import EvaBlock, EvaBlockPostNorm
    from timm.models.vision_transformer import Block

    trunk = visual.trunk
    block = trunk.blocks[-1]
    attention = block.attn
    check_timm_attention(attention)
    if type(block) not in (Block, EvaBlock, EvaBlockPostNorm):
        raise refuse_attention("index.open_clip.model", block)
    post = type(block) is EvaBlockPostNorm

    def scale(x: Tensor, number: int) -> Tensor:
        if post:
            return getattr(block, f"norm{number}")(x)
        if type(block) is Block:
            return getattr(block, f"ls{number}")(x)
        gamma = getattr(block, f"gamma_{number}")
        return x if gamma is None else gamma * x

    def feed_forward(x: Tensor) -> Tensor:
        return x + scale(block.mlp(x if post else block.norm2(x)), 2)

    return LastBlock(
        nn.Identity() if post else block.norm1,
        lambda x: project_timm(attention, x, rope),
        lambda x: scale(attention.proj(attention.norm(x)), 1),
        feed_forward,
        lambda x: pool_each(visual, trunk.norm(x)),
    )


def check_timm_attention(attention: Any) -> None:
    """Refuse attention of timm that is gated, shares keys among heads or is of an unknown kind.

    Raises:
        UserError: naming its class.
    """
    from timm.layers import Attention, AttentionRope
    from timm.models.eva import EvaAttention

    known = type(attention) in (Attention, AttentionRope, EvaAttention)
    if not known or attention.gate is not None or getattr(attention, "num_kv_groups", 1) > 1:
        raise refuse_attention("index.open_clip.model", attention)


def project_timm(
    attention: Any, x: Float[Tensor, "batch token channel"], rope: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values [B, heads, N, d] as an attention of timm compares them:
    normalised and turned, if it does so.
    """
    from timm.layers import apply_rot_embed_cat

    if attention.qkv is None:
        parts = [getattr(attention, f"{name}_proj")(x) for name in "qkv"]
    else:
        parts = attention.qkv(x).chunk(3, 2)
        if getattr(attention, "q_bias", None) is not None:
            parts = [part + getattr(attention, f"{n}_bias") for part, n in zip(parts, "qkv")]
    query, key, value = (split_heads(part, attention.num_heads) for part in parts)
    query, key = attention.q_norm(query), attention.k_norm(key)
    if rope is not None:
        first, half = attention.num_prefix_tokens, attention.rotate_half
        query, key = (
            torch.cat([y[:, :, :first], apply_rot_embed_cat(y[:, :, first:], rope, half=half)], 2)
            for y in (query, key)
        )
    return query.type_as(value), key.type_as(value), value
