"""Any model of open_clip, as a frozen encoder; `pretrained` is a tag of the hub or the path of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from captionseg.encoders.encoder import Features, normalised
from captionseg.grids import squash
from captionseg.records import UserError
from captionseg.runtime import Runtime


class OpenClip:
    """CLIP's joint space: pooled is the image embedding, dense the patches in the same space by MaskCLIP's way.

    In the last block every patch attends to itself alone (Zhou et al. 2022): its value, through the output projection,
    with the residual and the MLP kept. With attention, patches gather what the whole picture shows.
    """

    aligned = True
    fine = 0

    def __init__(self, model: Any, tokenizer: Any, size: int, batch: int, runtime: Runtime) -> None:
        self.model: Any = runtime.prepare(model)
        self.tokenizer = tokenizer
        self.size, self.batch, self.runtime = size, batch, runtime
        self.mean = torch.tensor(model.visual.image_mean or (0.48145466, 0.4578275, 0.40821073))
        self.std = torch.tensor(model.visual.image_std or (0.26862954, 0.26130258, 0.27577711))

    def features(self, images: Sequence[np.ndarray]) -> Features:
        """See Encoder. P = R = F = D, the joint space."""
        pixels = torch.from_numpy(np.stack([squash(image, self.size) for image in images])).float() / 255.0
        pixels = self.runtime.to(((pixels - self.mean) / self.std).permute(0, 3, 1, 2))
        with torch.inference_mode(), self.runtime.autocast():
            pooled, dense = both(self.model.visual, pixels)
        image = normalised(pooled.float().cpu().numpy())
        return Features(image, image, dense.float().cpu().numpy())

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """See Encoder."""
        rows = []
        for start in range(0, len(texts), 256):
            tokens = self.runtime.to(self.tokenizer(list(texts[start : start + 256])))
            with torch.inference_mode(), self.runtime.autocast():
                rows.append(self.model.encode_text(tokens).float().cpu().numpy())
        return normalised(np.concatenate(rows)) if rows else np.zeros((0, 1), np.float32)


def dense_form(visual: Any) -> str:
    """vit or resnet: how the dense features of a tower come into the joint space; empty where none is known."""
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is not None and len(blocks) > 1 and getattr(visual, "attn_pool", None) is None:
        return "vit" if hasattr(blocks[-1].attn, "in_proj_weight") else ""
    return "resnet" if hasattr(getattr(visual, "attnpool", None), "v_proj") else ""


def both(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Image embeddings [B, D], and dense features [B, h, w, D] by the values of the last attention."""
    if dense_form(visual) == "resnet":
        out = visual.forward_intermediates(pixels, indices=1, output_fmt="NCHW")
        maps = out["image_intermediates"][-1].permute(0, 2, 3, 1)
        return out["image_features"], visual.attnpool.c_proj(visual.attnpool.v_proj(maps))
    before = len(visual.transformer.resblocks) - 2
    out = visual.forward_intermediates(pixels, indices=[before], output_fmt="NCHW")
    tokens = value_only(visual.transformer.resblocks[-1], out["image_intermediates"][0].permute(0, 2, 3, 1))
    tokens = visual.ln_post(tokens)
    return out["image_features"], tokens if visual.proj is None else tokens @ visual.proj.to(tokens.dtype)


def value_only(block: Any, x: Tensor) -> Tensor:
    """A transformer block [.., W] -> [.., W] in which every token attends to itself alone."""
    width = x.shape[-1]
    bias = block.attn.in_proj_bias
    value = F.linear(block.ln_1(x), block.attn.in_proj_weight[2 * width :], None if bias is None else bias[2 * width :])
    x = x + block.ls_1(block.attn.out_proj(value))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


@dataclass(frozen=True)
class OpenClipParams:
    """Fields of `index.open_clip`.

    Attributes:
        model: name as open_clip lists it, such as ViT-B-16.
        pretrained: tag of the hub (a download), or the path of a checkpoint file, loaded without pickle objects.
        size: side of the square input; None takes the model's own.
        batch: images at once.
    """

    model: str = "ViT-B-16"
    pretrained: str = "openai"
    size: int | None = None
    batch: int = 64

    def build(self, runtime: Runtime) -> OpenClip:
        """The encoder on a device.

        Raises:
            UserError: for a model or tag that open_clip does not know, or a checkpoint that does not fit.
        """
        import open_clip

        if self.model not in open_clip.list_models():
            raise UserError(f"index.open_clip.model: open_clip has no {self.model!r}; "
                            "`python -c 'import open_clip; print(open_clip.list_models())'` lists what it has")
        is_file = Path(self.pretrained).suffix in {".pt", ".pth", ".bin", ".safetensors"} or "/" in self.pretrained
        if is_file and not Path(self.pretrained).is_file():
            raise UserError(f"index.open_clip.pretrained: no such file: {self.pretrained}")
        if not is_file and self.pretrained not in open_clip.list_pretrained_tags_by_model(self.model):
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(self.model)) or "none"
            raise UserError(f"index.open_clip.pretrained: no tag {self.pretrained!r} for {self.model} (tags: {tags}); "
                            "or give the path of a checkpoint")
        try:
            model: Any = open_clip.create_model(self.model, pretrained=self.pretrained, weights_only=True,
                                                force_quick_gelu=self.pretrained == "openai",
                                                force_image_size=self.size)
        except Exception as error:  # whatever a reader of foreign files may raise
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if isinstance(error, UnpicklingError):
                reason = "it holds more than tensors, and such a file can run code"
            raise UserError(f"index.open_clip: {self.pretrained} does not load into {self.model}: {reason}") from error
        if not dense_form(model.visual):
            raise UserError(f"index.open_clip.model: {self.model} has no dense features in its joint space; take a ViT "
                            "of OpenAI's form (ViT-B-16) or a ResNet with attention pooling (RN50)")
        side = model.visual.image_size
        side = side[0] if isinstance(side, tuple | list) else side
        return OpenClip(model, open_clip.get_tokenizer(self.model), side, self.batch, runtime)
