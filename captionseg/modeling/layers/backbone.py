"""Networks of timm: for the embedding of patches, or for the maps of their blocks."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.grids import MEAN, STD
from captionseg.modeling.layers.clip_tower import PREFIX, ClipTower
from captionseg.modeling.layers.timm_tags import check_tag
from captionseg.records import one_line
from captionseg.typed import Natural


class BackboneMaps(nn.Module):
    """The last map of a timm network, followed by a linear map.

    Args:
        name: name in timm, such as tf_efficientnet_lite0 or vit_small_patch16_224.
        width: number of output channels.
        size: side of training pictures in pixels; a ViT also accepts other sizes.
        stride: stride of the map in pixels, if the network supports it (by dilation).
        frozen: whether the network has no gradients and stays in evaluation mode; the linear map
            is trained anyway.

    Raises:
        ValueError: for a name that timm does not know, or a network without maps.
    """

    factor: Float[Tensor, "3 1 1"]
    shift: Float[Tensor, "3 1 1"]

    def __init__(
        self, name: str, width: int, *, size: int, stride: int = 16, frozen: bool = True
    ) -> None:
        super().__init__()
        net = create_network(
            name, {"img_size": size, "dynamic_img_size": True}, {"output_stride": stride}, {}
        )
        for buffer, value in zip(
            ("factor", "shift"), input_rescaling(net.pretrained_cfg), strict=True
        ):
            self.register_buffer(buffer, value, persistent=False)
        # in evaluation mode, because a batch norm needs more than one picture
        self.net, self.frozen = (net.requires_grad_(not frozen).eval(), frozen)
        with torch.no_grad():
            maps = self.maps(torch.zeros(1, 3, size, size))
        self.side = maps.shape[2]
        self.head = nn.Conv2d(maps.shape[1], width, 1)
        self.train(self.training)

    def maps(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        """Return the map of the last stage, after the network's final norm if it has one.

        Args:
            image: pictures normalised by ImageNet's mean and deviation.
        """
        image = image * self.factor + self.shift
        return self.net.forward_intermediates(
            image, indices=1, norm=True, intermediates_only=True, output_fmt="NCHW"
        )[-1]

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        """Return the projected map; pictures are normalised by ImageNet's mean and deviation."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.maps(image)
        return self.head(maps)

    def train(self, mode: bool = True) -> BackboneMaps:
        """See nn.Module; a frozen network stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.net.eval()
        return self


@dataclass(frozen=True)
class Network:
    """A frozen tower.

    Attributes:
        name: name in timm, such as vit_base_patch16_dinov3, vit_so400m_patch14_siglip_378 or
            tf_efficientnet_lite0; or open_clip:NAME for a ViT of open_clip, such as
            open_clip:ViT-L-14-336-quickgelu.
        weights: file of its weights; or a tag of timm, such as lvd1689m, whose weights are
            downloaded; `packaged` means the packaged ones of tf_efficientnet_lite0.
        blocks: number of last blocks (or stages of a convolutional network) whose maps are used; 0
            uses all.
        activation: activation of a CLIP, for files that do not record it; it must be that of
            `name`.
    """

    name: str
    weights: str = ""
    blocks: Natural = 0
    activation: Literal["auto", "quick_gelu", "gelu"] = "auto"

    def __post_init__(self) -> None:
        if self.blocks < 0:
            raise ValueError(f"networks: {self.name}: blocks {self.blocks} must not be below 0")


class BackboneFeatures(NamedTuple):
    """What a network makes of pictures; class and register tokens are in no map.

    Attributes:
        maps: maps of the blocks, in order.
        cls: a vector of each picture.
        final: the last map, after the final norm of a ViT.
    """

    maps: list[Float[Tensor, "batch _rows _columns _channel"]]
    cls: Float[Tensor, "batch channel"]
    final: Float[Tensor, "batch _rows _columns channel"]


class BackboneBlocks(nn.Module):
    """The last blocks of a frozen network, for pictures of any size that is a multiple of a patch.

    The vector of a picture is what the network's attention pooling gives (SigLIP), else the last
    [CLS] after its final norm or, without both, the layer-normalised mean of the last map.

    Args:
        network: the network. Its weights are loaded by captionseg.modeling.weights.pretrained.
        pretrained: whether timm downloads the weights of the network's tag.

    Raises:
        ValueError: for an unknown name, or a network without maps.
    """

    factor: Float[Tensor, "3 1 1"]
    shift: Float[Tensor, "3 1 1"]

    def __init__(self, network: Network, *, pretrained: bool = False) -> None:
        super().__init__()
        if network.name.startswith(PREFIX):
            net: Any = ClipTower(network.name.removeprefix(PREFIX))
        else:
            sizes: dict[str, Any] = {"dynamic_img_size": True}
            fast = {} if pretrained else {"weight_init": "skip"}
            net = create_network(network.name, sizes | fast, sizes, {}, pretrained=pretrained)
        self.net = net.requires_grad_(False).eval()
        self.blocks = network.blocks or None
        self.token = getattr(self.net, "cls_token", None) is not None
        self.pool = getattr(self.net, "attn_pool", None) is not None
        for name, value in zip(
            ("factor", "shift"), input_rescaling(self.net.pretrained_cfg), strict=True
        ):
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> BackboneFeatures:
        """Return the features of pictures that are normalised by ImageNet's mean and deviation."""
        image = image * self.factor + self.shift
        last, maps = self.net.forward_intermediates(image, indices=self.blocks, output_fmt="NCHW")
        maps = [x.movedim(1, -1) for x in maps]
        if last.ndim != 3:  # it has no tokens
            return BackboneFeatures(maps, average(maps[-1]), maps[-1])
        if isinstance(getattr(self.net, "norm", None), nn.Identity):
            last = self.net.fc_norm(last)  # the final norm of networks that pool before it
        rows, columns = maps[-1].shape[1:3]
        final = last[:, last.shape[1] - rows * columns :].unflatten(1, (rows, columns))
        if self.pool:
            return BackboneFeatures(maps, self.net.attn_pool(last), final)
        return BackboneFeatures(maps, last[:, 0] if self.token else average(maps[-1]), final)


def average(x: Float[Tensor, "batch _rows _columns channel"]) -> Float[Tensor, "batch channel"]:
    """Return the layer-normalised mean of a map."""
    mean = x.float().mean((1, 2))
    return F.layer_norm(mean, mean.shape[1:])


def probe_network(network: Network, side: int) -> tuple[list[int], int]:
    """Return the widths of a network's blocks and the stride of its last map in pixels.

    Shapes are derived without weights or computation.

    Args:
        network: the network.
        side: side of the pictures in pixels.

    Raises:
        ValueError: for an unknown network, or one that does not accept such pictures or has fewer
            blocks.
    """
    tower = build_without_weights(network.name, network.blocks)
    with torch.device("meta"):
        try:
            maps = tower(torch.zeros(1, 3, side, side)).maps
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"networks: {network.name}, blocks: {network.blocks}, on pictures of {side} "
                f"pixels: {one_line(error)}"
            ) from None
    return [x.shape[3] for x in maps], max(stage["reduction"] for stage in tower.net.feature_info)


@functools.lru_cache(maxsize=16)
def build_without_weights(name: str, blocks: int) -> BackboneBlocks:
    """Build the blocks of a network on the meta device, once: tensors have shapes and no numbers.

    Raises:
        ValueError: for an unknown name, or a network without maps.
    """
    with torch.device("meta"):
        return BackboneBlocks(Network(name, blocks=blocks))


def input_rescaling(
    config: Mapping[str, Any],
) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Return the factor and the shift that convert pictures from ImageNet's normalisation to that
    of a config.
    """
    imagenet = torch.tensor((MEAN, STD))
    own = torch.tensor((config["mean"], config["std"]))
    return (imagenet[1] / own[1])[:, None, None], ((imagenet[0] - own[0]) / own[1])[:, None, None]


def create_network(name: str, *choices: dict[str, Any], pretrained: bool = False) -> Any:
    """Create a network of timm with the first options that it supports.

    Args:
        name: name in timm, with or without a tag of weights.
        choices: keyword arguments of timm.create_model, in order of preference.
        pretrained: whether timm downloads its weights.

    Raises:
        ValueError: for a name or a tag that timm does not know, or a network without maps.
    """
    import timm

    if not timm.is_model(name):
        raise ValueError(
            f"backbone: timm has no model {name!r}; `timm.list_models()` lists what it has"
        )
    check_tag(name)
    net: Any = None
    for choice in choices:
        try:
            net = timm.create_model(name, pretrained=pretrained, num_classes=0, **choice)
            break
        except (TypeError, NotImplementedError, AssertionError):
            if choice is choices[-1]:
                raise
    if not hasattr(net, "forward_intermediates"):
        raise ValueError(f"backbone: {name} gives no maps (timm: forward_intermediates)")
    return net
