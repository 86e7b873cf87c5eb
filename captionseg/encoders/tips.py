"""TIPSv2 of transformers as a frozen encoder, from a local folder.

Cao et al., TIPSv2: Advancing Vision-Language Pretraining with Enhanced Patch-Text Alignment, CVPR
2026, arXiv 2604.12012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from captionseg.encoders.dense_head import build_joint_head
from captionseg.encoders.encoder import Features, normalise
from captionseg.encoders.last_block import LastBlock, Mix, split_heads
from captionseg.encoders.reduction import Reduction
from captionseg.encoders.transformers_folder import load_folder, see_squares, tokenise
from captionseg.records import UserError
from captionseg.remarks import group_warnings
from captionseg.runtime.device import Runtime
from captionseg.typed import Count

WHERE = "index.tips"
TEXTS = 256  # at once


class Tips:
    """A TIPSv2 of transformers. See Encoder.

    Pooled features are the first class token, dense features the patches: both lie in the space of
    texts, as trained, behind the same norm. The second class token, where others have registers, is
    not used.

    Args:
        model: `Tipsv2Model`.
        tokenizer: its tokenizer.
        size: side of the square input in pixels.
        batch: see Encoder.
        runtime: device and precision.
    """

    aligned = True
    fine = 0

    def __init__(
        self, model: Any, tokenizer: Any, *, size: int, batch: int, runtime: Runtime
    ) -> None:
        self.model: Any = runtime.prepare(model).requires_grad_(False)
        self.tokenizer, self.size, self.batch, self.runtime = tokenizer, size, batch, runtime
        self.head = build_joint_head(model.config.vision_config.hidden_size)

    @property
    def text_tower(self) -> NoReturn:
        """See Encoder.

        Raises:
            UserError: always.
        """
        raise UserError(
            "index.encoder: tips has a text encoder of its own; this model needs one like CLIP's, "
            "so use open_clip with a model such as ViT-B-16"
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
        registers = self.model.config.vision_config.num_register_tokens
        return out.pooler_output, out.last_hidden_state[:, 1 + registers :].unflatten(1, grid)

    def see(self, pixels: Tensor, **options: Any) -> tuple[Any, tuple[int, int]]:
        """Return what the image tower makes of pixels [B, 3, H, W] in 0..255, and its rows and
        columns of patches.

        Args:
            pixels: the pictures.
            **options: what else the tower is asked for.

        Raises:
            UserError: for pictures smaller than a patch.
        """
        patch = self.model.config.vision_config.patch_size
        rows, columns = (side // patch for side in pixels.shape[2:])
        if not rows * columns:
            raise UserError(
                f"{WHERE}: a picture of {pixels.shape[2]} x {pixels.shape[3]} pixels is smaller "
                f"than a patch of {patch} x {patch}"
            )
        # neither mean nor deviation, as in training
        pixels = pixels[:, :, : rows * patch, : columns * patch] / 255.0
        return self.model.vision_model(pixels, **options), (rows, columns)

    def split_last_block(self) -> LastBlock:
        """See AttendingEncoder."""
        vision = self.model.vision_model
        layer, heads = vision.encoder.layer[-1], vision.config.num_attention_heads
        attention = layer.attention

        def project(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            query, key, value = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
            return split_heads(query, heads), split_heads(key, heads), split_heads(value, heads)

        return LastBlock(
            layer.norm1,
            project,
            lambda x: layer.layer_scale1(attention.o_proj(x)),
            lambda x: x + layer.layer_scale2(layer.mlp(layer.norm2(x))),
            vision.layernorm,
        )

    def attend(self, pixels: Tensor, mix: Mix, *, residual: bool) -> Tensor:
        """See AttendingEncoder."""
        out, grid = self.see(pixels, output_hidden_states=True)
        return self.split_last_block().attend(out.hidden_states[-2], grid, mix, residual=residual)

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """See Encoder. Texts are in lower case, as in training."""
        rows, context = [], self.model.config.text_config.max_position_embeddings
        with group_warnings():
            for start in range(0, len(texts), TEXTS):
                tokens = tokenise(self.tokenizer, texts[start : start + TEXTS], context)
                seen = tokens["attention_mask"]
                seen[:, 0] = 1  # of an empty text, which has no token, one that pads
                with torch.inference_mode(), self.runtime.autocast():
                    pooled = self.model.text_model(
                        input_ids=self.runtime.to(tokens["input_ids"]),
                        attention_mask=self.runtime.to(seen),
                    ).pooler_output
                rows.append(pooled.float().cpu().numpy())
        return normalise(np.concatenate(rows)) if rows else np.zeros((0, 1), np.float32)


@dataclass(frozen=True)
class TipsParams:
    """Fields of `index.tips`.

    Attributes:
        folder: local folder of a TIPSv2 of transformers (config.json, model.safetensors, tokenizer,
            preprocessor_config.json), such as google/tipsv2-b14; nothing is downloaded.
        size: side of the square input in pixels; None takes the model's own.
        batch: number of images at once.
    """

    folder: str = ""
    size: Count | None = None
    batch: Count = 32

    def build(self, runtime: Runtime) -> Tips:
        """Load the encoder on a device.

        Raises:
            UserError: if the folder is missing, has another model, or has incomplete weights.
        """
        folder = Path(self.folder).expanduser()
        model, tokenizer, processor = load_folder(folder, ["tipsv2"], where=f"{WHERE}.folder")
        vision = model.config.vision_config
        if not isinstance(vision.patch_size, int) or processor.do_normalize:
            raise UserError(
                f"{WHERE}.folder: {folder}: only TIPSv2 with square patches, and pictures without "
                "mean and deviation, is known"
            )
        size = self.size or vision.image_size
        if size % vision.patch_size:
            raise UserError(
                f"{WHERE}.size: {size} is not a multiple of {vision.patch_size}, the patch size of "
                f"{folder}"
            )
        return Tips(model, tokenizer, size=size, batch=self.batch, runtime=runtime)
