"""Models of open_clip as frozen encoders."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from captionseg.encoders.dense_head import build_joint_head, build_vit_head
from captionseg.encoders.encoder import Features, normalise
from captionseg.encoders.last_block import LastBlock, Mix, split_clip_block
from captionseg.encoders.reduction import Reduction
from captionseg.encoders.text_tower import ClipTower
from captionseg.encoders.timm_tower import (
    POOLINGS,
    attend_timm,
    embed_tokens,
    find_pooling,
    find_width,
    split_timm_block,
)
from captionseg.grids import squash
from captionseg.records import Sigmoid, UserError
from captionseg.remarks import find_cut_texts, group_warnings, warn_too_long
from captionseg.runtime.device import Runtime
from captionseg.typed import Count

Dense = Literal["joint", "tokens"]


class OpenClip:
    """A CLIP of open_clip. See Encoder.

    Pooled features are image embeddings, dense features are patches in the same space, as in
    MaskCLIP (Zhou et al. 2022): in the last block each patch attends only to itself, because with
    attention patches describe the whole picture. For towers of timm, see
    captionseg.encoders.timm_tower.

    Args:
        model: model of open_clip.
        tokenizer: its tokenizer.
        size: side of the square input in pixels.
        batch: see Encoder.
        runtime: device and precision.
        dense: see OpenClipParams.
    """

    aligned = True
    fine = 0

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        size: int,
        batch: int,
        runtime: Runtime,
        *,
        dense: Dense = "joint",
    ) -> None:
        self.model: Any = runtime.prepare(model).requires_grad_(False)
        self.tokenizer, self.dense = tokenizer, dense
        self.size, self.batch, self.runtime = size, batch, runtime
        visual = model.visual
        self.mean = runtime.to(
            torch.tensor(visual.image_mean or (0.48145466, 0.4578275, 0.40821073))
        )
        self.std = runtime.to(
            torch.tensor(visual.image_std or (0.26862954, 0.26130258, 0.27577711))
        )
        # a copy, because models train it and move it to other devices
        form = dense_form(visual)
        width = find_width(visual) if form in POOLINGS else int(visual.output_dim)
        self.head = build_vit_head(visual) if dense == "tokens" else build_joint_head(width)
        self.last: torch.nn.Module = torch.nn.Identity()
        if dense == "joint" and form == "vit":
            self.last = runtime.prepare(build_vit_head(visual))

    @property
    def sigmoid(self) -> Sigmoid | None:
        """The scale and bias of a model that was trained with a sigmoid loss."""
        if (bias := getattr(self.model, "logit_bias", None)) is None:
            return None
        return Sigmoid(self.model.logit_scale.exp().item(), bias.item())

    @functools.cached_property
    def text_tower(self) -> ClipTower:
        """See Encoder."""
        return ClipTower(self.model, self.tokenizer)

    def features(
        self, images: Sequence[np.ndarray], reduction: Reduction | None = None
    ) -> Features:
        """See Encoder. P = R = D, the width of the joint space; F is D too, or with dense: tokens
        the width of the tower.
        """
        pixels = self.runtime.to(
            torch.from_numpy(np.stack([squash(image, self.size) for image in images])).float()
        )
        with torch.inference_mode(), self.runtime.autocast():
            pooled, dense = self.towers(pixels.permute(0, 3, 1, 2))
        image, dense = normalise(pooled.float().cpu().numpy()), dense.float()
        dense = reduction.reduce_tensor(dense) if reduction else dense
        return Features(image, image, dense.cpu().numpy())

    def towers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See Encoder; for pictures of other sizes, positions are resized."""
        pixels = self.normalise_pixels(pixels)
        visual = resize_tower(self.model.visual, pixels.shape[2:])
        pooled, feature_map = embed_and_map(visual, pixels)
        return pooled, self.last(feature_map)

    def split_last_block(self) -> LastBlock:
        """See AttendingEncoder; that of a tower of timm without its rotary positions.

        Raises:
            UserError: for a ResNet, and for attention or blocks of an unknown kind.
        """
        visual = self.model.visual
        if (form := dense_form(visual)) == "resnet":
            raise UserError(
                "index.open_clip.model: a ResNet has no last block whose attention could be "
                "replaced; use a ViT, or model maskclip"
            )
        return split_timm_block(visual) if form in POOLINGS else split_clip_block(visual)

    def attend(self, pixels: Tensor, mix: Mix, *, residual: bool) -> Tensor:
        """See AttendingEncoder; for pictures of other sizes, positions are resized."""
        pixels = self.normalise_pixels(pixels)
        if dense_form(self.model.visual) in POOLINGS:
            return attend_timm(self.model.visual, pixels, mix, residual=residual)
        visual = resize_tower(self.model.visual, pixels.shape[2:])
        tokens = list_tokens(visual, pixels)
        grid = (int(visual.grid_size[0]), int(visual.grid_size[1]))
        return self.split_last_block().attend(tokens, grid, mix, residual=residual)

    def normalise_pixels(self, pixels: Tensor) -> Tensor:
        """Normalise pixels [B, 3, H, W] in 0..255 by the model's mean and deviation."""
        return (pixels / 255.0 - self.mean[:, None, None]) / self.std[:, None, None]

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """See Encoder."""
        rows = []
        with group_warnings():
            for start in range(0, len(texts), 256):
                part = list(texts[start : start + 256])
                tokens = self.tokenizer(part)
                warn_too_long(find_cut_texts(self.tokenizer, part, tokens), tokens.shape[1])
                tokens = self.runtime.to(tokens)
                with torch.inference_mode(), self.runtime.autocast():
                    rows.append(self.model.encode_text(tokens).float().cpu().numpy())
        return normalise(np.concatenate(rows)) if rows else np.zeros((0, 1), np.float32)


def dense_form(visual: Any) -> str:
    """Return the kind of an image tower: vit, resnet, or the pooling of a ViT of timm; empty if it
    has no known dense features.
    """
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is not None and len(blocks) > 1 and getattr(visual, "attn_pool", None) is None:
        return "vit" if hasattr(blocks[-1].attn, "in_proj_weight") else ""
    is_resnet = hasattr(getattr(visual, "attnpool", None), "v_proj")
    return "resnet" if is_resnet else find_pooling(visual)


def resize_tower(visual: Any, size: Sequence[int]) -> Any:
    """Return the tower for pictures of a size (height, width), with positions resized (bicubic).

    All other weights are shared. ViTs of timm are resized by `embed_tokens`.

    Raises:
        UserError: if the tower is not a ViT, and the size differs from its own.
    """
    form = dense_form(visual)
    if form in POOLINGS:
        return visual
    if form != "vit":
        own = (
            visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size,) * 2
        )
        if tuple(size) != own:
            raise UserError(
                f"index.open_clip.model: this tower only accepts pictures of {own[0]} x {own[1]} "
                f"pixels, not {size[0]} x {size[1]}; use a ViT"
            )
        return visual
    positions = visual.positional_embedding
    grid = tuple(side // patch for side, patch in zip(size, visual.patch_size, strict=True))
    if grid == tuple(visual.grid_size):
        return visual
    maps = positions[1:].unflatten(0, visual.grid_size).permute(2, 0, 1)[None]
    maps = F.interpolate(maps, grid, mode="bicubic", antialias=True, align_corners=False)[0]
    resized = copy.copy(visual)
    resized._parameters = dict(visual._parameters)
    resized._parameters["positional_embedding"] = torch.cat([positions[:1], maps.flatten(1).T])
    resized.grid_size = grid
    return resized


def embed_and_map(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return image embeddings [B, D] and maps [B, h, w, F] of pixels [B, 3, H, W].

    The map of a ViT is the input of its last block, for `build_vit_head`. That of a ResNet is its
    last map through the values of its attention pooling, in the joint space. For ViTs of timm, see
    `embed_tokens`.
    """
    form = dense_form(visual)
    if form in POOLINGS:
        return embed_tokens(visual, pixels)
    if form == "resnet":
        out = visual.forward_intermediates(pixels, indices=1, output_fmt="NCHW")
        maps = out["image_intermediates"][-1].permute(0, 2, 3, 1)
        return out["image_features"], visual.attnpool.c_proj(visual.attnpool.v_proj(maps))
    before = len(visual.transformer.resblocks) - 2
    out = visual.forward_intermediates(pixels, indices=[before], output_fmt="NCHW")
    return out["image_features"], out["image_intermediates"][0].permute(0, 2, 3, 1)


def list_tokens(visual: Any, pixels: Tensor) -> Tensor:
    """Return the tokens [B, 1 + h w, F] of a ViT before its last block, the class token first."""
    out = visual.forward_intermediates(
        pixels,
        indices=[len(visual.transformer.resblocks) - 2],
        stop_early=True,
        intermediates_only=True,
        output_fmt="NLC",
        output_extra_tokens=True,
    )
    return torch.cat([out["image_intermediates_prefix"][0], out["image_intermediates"][0]], 1)


@dataclass(frozen=True)
class OpenClipParams:
    """Fields of `index.open_clip`.

    Attributes:
        model: name in open_clip, such as ViT-B-16 or ViT-B-16-quickgelu.
        pretrained: tag of the weights (a download), or path of a file, of which only tensors are
            read: safetensors, a file of torch, or OpenAI's TorchScript.
        size: side of the square input in pixels; None takes the model's own.
        batch: number of images at once.
        dense: joint means features in the joint space by the values of the last attention; tokens
            are the input of the last block of one of open_clip's own ViTs, of which TCL and CoDe
            train a copy.
        tokenizer: local folder with the tokenizer of a model that has one of its own (SigLIP,
            SigLIP 2, CLIPA, ..), as tokenizer.json; empty for CLIP's, which open_clip contains.
            Nothing is downloaded.
        activation: activation of the MLPs. auto takes that of the tag or the file. If it is unknown
            and open_clip has both NAME and NAME-quickgelu, the file is refused.
        normalise: mean and deviation of pixels. auto takes those of the tag or the file, or those
            of all tags of the model if they agree; none means 0 and 1.
    """

    model: str = "ViT-B-16"
    pretrained: str = "openai"
    size: Count | None = None
    batch: Count = 64
    dense: Dense = "joint"
    tokenizer: str = ""
    activation: Literal["auto", "quick_gelu", "gelu"] = "auto"
    normalise: Literal["auto", "openai", "inception", "imagenet", "none"] = "auto"

    def build(self, runtime: Runtime) -> OpenClip:
        """Load the encoder on a device.

        Raises:
            UserError: for a model or a tag that open_clip does not know, or a file that does not
                fit.
        """
        from captionseg.encoders import open_clip_weights
        from captionseg.encoders.open_clip_tokenizer import load_tokenizer

        model = open_clip_weights.load(self)
        if not dense_form(model.visual):
            raise UserError(
                f"index.open_clip.model: {self.model} has no dense features in its joint space; "
                "use a ViT like OpenAI's (ViT-B-16), a ViT of timm (SigLIP, SigLIP 2, PE-Core, "
                "EVA, MobileCLIP-B) or a ResNet with attention pooling (RN50)"
            )
        if self.dense != "joint" and (form := dense_form(model.visual)) != "vit":
            kind = "a ViT" if form == "resnet" else "one of open_clip's own ViTs"
            raise UserError(
                f"index.open_clip.dense: {self.model} is not {kind}, so it has no {self.dense}; "
                "use joint"
            )
        side = model.visual.image_size
        side = side[0] if isinstance(side, tuple | list) else side
        tokenizer = load_tokenizer(
            self.model, self.tokenizer, weights=self.pretrained, tokens=model.vocab_size
        )
        return OpenClip(model, tokenizer, side, self.batch, runtime, dense=self.dense)
