"""SigLIP and SigLIP 2 of transformers as frozen encoders, from a local folder.

Zhai et al., Sigmoid Loss for Language Image Pre-Training, ICCV 2023; Tschannen et al., SigLIP 2,
arXiv 2502.14786, whose NaFlex models take pictures as a list of patches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from captionseg.encoders.dense_head import build_joint_head
from captionseg.encoders.encoder import Features, normalise
from captionseg.encoders.last_block import LastBlock, Mix, split_heads
from captionseg.encoders.reduction import Reduction
from captionseg.encoders.transformers_folder import load_folder, see_squares, tokenise
from captionseg.records import Sigmoid, UserError
from captionseg.remarks import group_warnings
from captionseg.runtime.device import Runtime
from captionseg.typed import Count

WHERE = "index.siglip"
FAMILY = ("siglip", "siglip2")
TEXTS = 256  # at once


class Siglip:
    """A SigLIP of transformers. See Encoder.

    Pooled features are image embeddings. Dense features are what the pooling head makes of each
    token if its query attends to that alone: values, output projection and MLP, as MaskCLIP (Zhou
    et al. 2022) takes the values of CLIP's attention pooling.

    Args:
        model: `SiglipModel` or `Siglip2Model`.
        tokenizer: its tokenizer.
        processor: its image processor, whose mean and deviation of pixels are used.
        size: side of the square input in pixels.
        batch: see Encoder.
        runtime: device and precision.
    """

    aligned = True
    fine = 0

    def __init__(
        self, model: Any, tokenizer: Any, *, processor: Any, size: int, batch: int, runtime: Runtime
    ) -> None:
        self.model: Any = runtime.prepare(model).requires_grad_(False)
        self.tokenizer, self.size, self.batch, self.runtime = tokenizer, size, batch, runtime
        self.mean, self.std = (
            runtime.to(torch.tensor(value)) for value in (processor.image_mean, processor.image_std)
        )
        self.head = build_joint_head(model.config.vision_config.hidden_size)
        self.context: int = model.config.text_config.max_position_embeddings

    @property
    def sigmoid(self) -> Sigmoid:
        """The scale and bias of the loss that it was trained with."""
        return Sigmoid(self.model.logit_scale.exp().item(), self.model.logit_bias.item())

    @property
    def text_tower(self) -> NoReturn:
        """See Encoder.

        Raises:
            UserError: always: the text encoder reads padding, and its embedding is that of the last
                token, so texts cannot be shortened or prompted.
        """
        raise UserError(
            "index.encoder: siglip has a text encoder that reads padding; this model needs one "
            "like CLIP's, so use open_clip with a model such as ViT-B-16"
        )

    def features(
        self, images: Sequence[np.ndarray], reduction: Reduction | None = None
    ) -> Features:
        """See Encoder. P = R = F = D, the width of the joint space."""
        return see_squares(images, self.size, self.towers, self.runtime, reduction)

    def towers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See Encoder; for pictures of other sizes, positions are resized as transformers does.

        Raises:
            UserError: for pictures smaller than a patch.
        """
        out, grid = self.see(pixels)
        dense = take_values(self.model.vision_model.head, out.last_hidden_state)
        return out.pooler_output, dense.unflatten(1, grid)

    def see(self, pixels: Tensor, **options: Any) -> tuple[Any, tuple[int, int]]:
        """Return what the image tower makes of pixels [B, 3, H, W] in 0..255, and its rows and
        columns of patches.

        Args:
            pixels: the pictures.
            **options: what else the tower is asked for.

        Raises:
            UserError: for pictures smaller than a patch.
        """
        vision, patch = self.model.vision_model, self.model.config.vision_config.patch_size
        rows, columns = (side // patch for side in pixels.shape[2:])
        if not rows * columns:
            raise UserError(
                f"{WHERE}: a picture of {pixels.shape[2]} x {pixels.shape[3]} pixels is smaller "
                f"than a patch of {patch} x {patch}"
            )
        pixels = (pixels / 255.0 - self.mean[:, None, None]) / self.std[:, None, None]
        pixels = pixels[:, :, : rows * patch, : columns * patch]
        if self.model.config.model_type == "siglip2":
            patches = split_patches(pixels, patch)
            out = vision(
                pixel_values=patches,
                pixel_attention_mask=torch.ones(patches.shape[:2], device=pixels.device).long(),
                spatial_shapes=torch.tensor([[rows, columns]] * len(pixels)),
                **options,
            )
        else:
            out = vision(pixel_values=pixels, interpolate_pos_encoding=True, **options)
        return out, (rows, columns)

    def split_last_block(self) -> LastBlock:
        """See AttendingEncoder; tokens are finished by the values of the pooling head."""
        vision = self.model.vision_model
        layer, heads = vision.encoder.layers[-1], vision.config.num_attention_heads
        attention = layer.self_attn

        def project(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            query, key, value = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
            return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)

        return LastBlock(
            layer.layer_norm1,
            project,
            attention.out_proj,
            lambda x: x + layer.mlp(layer.layer_norm2(x)),
            lambda x: take_values(vision.head, vision.post_layernorm(x)),
        )

    def attend(self, pixels: Tensor, mix: Mix, *, residual: bool) -> Tensor:
        """See AttendingEncoder."""
        out, grid = self.see(pixels, output_hidden_states=True)
        return self.split_last_block().attend(out.hidden_states[-2], grid, mix, residual=residual)

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """See Encoder. Texts are in lower case, as in training, and padded to the context."""
        rows = []
        with group_warnings():
            for start in range(0, len(texts), TEXTS):
                tokens = self.runtime.to(self.tokens(texts[start : start + TEXTS]))
                with torch.inference_mode(), self.runtime.autocast():
                    # without a mask, which it was not trained with
                    pooled = self.model.text_model(input_ids=tokens).pooler_output
                rows.append(pooled.float().cpu().numpy())
        return normalise(np.concatenate(rows)) if rows else np.zeros((0, 1), np.float32)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Tokenise T texts: [T, context]; what is cut is said."""
        return tokenise(self.tokenizer, texts, self.context)["input_ids"]


def split_patches(
    pixels: Float[Tensor, "batch 3 height width"], patch: int
) -> Float[Tensor, "batch token channel"]:
    """Split pictures into patches in the order of SigLIP 2: rows, columns, channels of a patch."""
    tiles = pixels.unflatten(2, (-1, patch)).unflatten(4, (-1, patch))
    return tiles.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def take_values(
    pool: Any, tokens: Float[Tensor, "batch token channel"]
) -> Float[Tensor, "batch token channel"]:
    """Return what the pooling head makes of each token if it attends to that alone."""
    attention, width = pool.attention, tokens.shape[2]
    value = F.linear(
        tokens, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
    )
    x = attention.out_proj(value)
    return x + pool.mlp(pool.layernorm(x))


@dataclass(frozen=True)
class SiglipParams:
    """Fields of `index.siglip`.

    Attributes:
        folder: local folder of a SigLIP or SigLIP 2 of transformers (config.json,
            model.safetensors, tokenizer, preprocessor_config.json), such as
            google/siglip2-base-patch16-256; nothing is downloaded.
        size: side of the square input in pixels; None takes the model's own, for NaFlex models the
            largest square of its number of patches.
        batch: number of images at once.
    """

    folder: str = ""
    size: Count | None = None
    batch: Count = 64

    def build(self, runtime: Runtime) -> Siglip:
        """Load the encoder on a device.

        Raises:
            UserError: if the folder is missing, has another model, or has incomplete weights.
        """
        folder = Path(self.folder).expanduser()
        model, tokenizer, processor = load_folder(folder, FAMILY, where=f"{WHERE}.folder")
        text, vision = model.config.text_config, model.config.vision_config
        if not vision.vision_use_head or text.projection_size != vision.hidden_size:
            raise UserError(
                f"{WHERE}.folder: {folder} has no pooling head in the space of its texts"
            )
        if model.config.model_type == "siglip2":
            own = math.isqrt(processor.max_num_patches) * vision.patch_size
        else:
            own = vision.image_size
        size = self.size or own
        if size % vision.patch_size:
            raise UserError(
                f"{WHERE}.size: {size} is not a multiple of {vision.patch_size}, the patch size of "
                f"{folder}"
            )
        return Siglip(
            model, tokenizer, processor=processor, size=size, batch=self.batch, runtime=runtime
        )
