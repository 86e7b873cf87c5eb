"""The last block of a ViT in its parts, for methods that replace its attention and train nothing.

In the last block of a CLIP, queries and keys ask for the whole picture, so that patches describe it
rather than themselves. Training-free methods keep all weights and mix the values of the patches in
another way; see docs/methods/training_free.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.reduction import ReducedEncoder
from captionseg.records import UserError


class Attended(NamedTuple):
    """Queries, keys and values of an attention, by heads, as it compares them.

    Class tokens and registers, if there are any, come before the patches, which are row by row.

    Attributes:
        query: queries of all tokens.
        key: their keys.
        value: their values.
        grid: rows and columns of patches.
    """

    query: Float[Tensor, "batch head token channel"]
    key: Float[Tensor, "batch head token channel"]
    value: Float[Tensor, "batch head token channel"]
    grid: tuple[int, int]


class Mixed(NamedTuple):
    """Values as they leave the attention.

    Attributes:
        value: mixed values, the last of which are those of the cells of `grid`, row by row.
        grid: rows and columns of cells; another grid than that of the patches is possible where
            there is no residual.
    """

    value: Float[Tensor, "batch head token channel"]
    grid: tuple[int, int]


Mix = Callable[[Attended], Mixed]
"""What replaces softmax(q k' / sqrt(d)) v."""


@dataclass(frozen=True)
class LastBlock:
    """The last block of a ViT, with what follows it.

    Attributes:
        norm: what tokens go through before the attention.
        project: maps them to queries, keys and values by heads.
        out: maps mixed values, heads side by side, to the output of the attention's branch.
        feed_forward: maps tokens after the attention to tokens after the block.
        finish: maps tokens after the block to the space of texts, each by itself.
    """

    norm: Callable[[Tensor], Tensor]
    project: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    out: Callable[[Tensor], Tensor]
    feed_forward: Callable[[Tensor], Tensor]
    finish: Callable[[Tensor], Tensor]

    def attend(
        self,
        tokens: Float[Tensor, "batch token width"],
        grid: tuple[int, int],
        mix: Mix,
        *,
        residual: bool,
    ) -> Float[Tensor, "batch rows columns embedding"]:
        """Return features in the space of texts, not normalised.

        Args:
            tokens: tokens before the block.
            grid: rows and columns of patches.
            mix: replaces the attention.
            residual: whether the residual of the attention and the MLP are kept.
        """
        mixed = mix(Attended(*self.project(self.norm(tokens)), grid))
        x = self.out(mixed.value.transpose(1, 2).flatten(2))
        if residual:
            x = self.feed_forward(tokens + x)
        rows, columns = mixed.grid
        return self.finish(x[:, x.shape[1] - rows * columns :]).unflatten(1, mixed.grid)


@runtime_checkable
class AttendingEncoder(Protocol):
    """A frozen encoder whose last attention can be replaced."""

    def split_last_block(self) -> LastBlock:
        """Return the last block in its parts.

        Raises:
            UserError: if it is of another form.
        """
        ...

    def attend(self, pixels: Tensor, mix: Mix, *, residual: bool) -> Tensor:
        """Return dense features [B, h, w, D] of float pixels [B, 3, H, W] in 0..255, with other
        attention in the last block; arguments as of `LastBlock.attend`.
        """
        ...


def find_attending(encoder: Encoder, model: str) -> AttendingEncoder:
    """Return the encoder whose last attention a model replaces.

    Args:
        encoder: the frozen encoder.
        model: key of MODELS, for the error message.

    Raises:
        UserError: for an encoder without such a block.
    """
    inner = encoder.encoder if isinstance(encoder, ReducedEncoder) else encoder
    if not isinstance(inner, AttendingEncoder):
        raise UserError(explain_missing_attention(model, type(inner).__name__))
    inner.split_last_block()
    return inner


def explain_missing_attention(model: str, encoder: str) -> str:
    """Return the line for an encoder whose last attention cannot be replaced."""
    return (
        f"index.encoder: model {model} replaces the attention of a ViT that is aligned with texts, "
        f"and {encoder} has none; use open_clip with a ViT, siglip or tips, or model maskclip"
    )


def split_heads(
    x: Float[Tensor, "batch token width"], heads: int
) -> Float[Tensor, "batch head token channel"]:
    """Split vectors into heads."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def split_clip_block(visual: Any) -> LastBlock:
    """Split the last block of a ViT of open_clip.

    Raises:
        UserError: if it has another kind of attention than CLIP's.
    """
    block = visual.transformer.resblocks[-1]
    attention = block.attn
    if not isinstance(attention, nn.MultiheadAttention):
        raise refuse_attention("index.open_clip.model", attention)

    def project(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, 2)
        query, key, value = (split_heads(part, attention.num_heads) for part in parts)
        return query, key, value

    def finish(x: Tensor) -> Tensor:
        x = visual.ln_post(x)
        return x if visual.proj is None else x @ visual.proj

    return LastBlock(
        block.ln_1,
        project,
        lambda x: block.ls_1(attention.out_proj(x)),
        lambda x: x + block.ls_2(block.mlp(block.ln_2(x))),
        finish,
    )


def refuse_attention(where: str, attention: object) -> UserError:
    """Return the error for a last block with attention of a kind that is not known."""
    return UserError(
        f"{where}: the last block has {type(attention).__name__}, which cannot be replaced; use a "
        "model with plain attention there, or model maskclip"
    )
