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
    patch, pooling = find_patch(visual), find_pooling(visual)
    rows, columns = pixels.shape[2] // patch[0], pixels.shape[3] // patch[1]
    if not rows * columns:
        raise UserError(
            f"index.open_clip.model: a picture of {pixels.shape[2]} x {pixels.shape[3]} pixels is "
            f"smaller than a patch of this tower, {patch[0]} x {patch[1]}"
        )
    pixels = pixels[:, :, : rows * patch[0], : columns * patch[1]]
    trunk = resize_trunk(visual.trunk, pixels.shape[2:])
    final, before = trunk.forward_intermediates(
        pixels, indices=[max(0, len(trunk.blocks) - 2)], output_fmt="NLC"
    )
    image = visual.head(trunk.forward_head(final))
    if pooling == "token":
        tokens = trunk.norm(attend_to_self(trunk.blocks[-1], before[0]))
    else:
        tokens = final[:, trunk.num_prefix_tokens :]
        tokens = take_values(trunk.attn_pool, tokens) if pooling == "map" else tokens
    tokens = visual.head(trunk.head(trunk.fc_norm(tokens)))
    return image, tokens.unflatten(1, (rows, columns))


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
