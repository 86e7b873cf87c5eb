"""Any network of timm: as the embedding of patches, or the maps of its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.grids import MEAN, STD
from captionseg.modeling.layers.clip_tower import PREFIX, ClipTower
from captionseg.records import one_line
from captionseg.typed import Natural


class BackboneMaps(nn.Module):
    """The last maps of a timm network, through a linear map.

    Args:
        name: as timm lists it, such as tf_efficientnet_lite0 or vit_small_patch16_224.
        width: channels of what comes out.
        size: of training pictures; a ViT takes others too.
        stride: of the maps, in pixels, where the network lets it be chosen (dilation); its own
            elsewhere.
        frozen: no gradient, batch norms in evaluation; the linear map is trained all the same.

    Raises:
        ValueError: for a name that timm does not know, or a network without maps.
    """

    factor: Float[Tensor, "3 1 1"]
    shift: Float[Tensor, "3 1 1"]

    def __init__(
        self, name: str, width: int, *, size: int, stride: int = 16, frozen: bool = True
    ) -> None:
        super().__init__()
        net = create(
            name, {"img_size": size, "dynamic_img_size": True}, {"output_stride": stride}, {}
        )
        for buffer, value in zip(("factor", "shift"), statistics(net.pretrained_cfg), strict=True):
            self.register_buffer(buffer, value, persistent=False)
        # one picture is no batch for a norm
        self.net, self.frozen = (net.requires_grad_(not frozen).eval(), frozen)
        with torch.no_grad():
            maps = self.maps(torch.zeros(1, 3, size, size))
        self.side = maps.shape[2]
        self.head = nn.Conv2d(maps.shape[1], width, 1)
        self.train(self.training)

    def maps(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        """Of the last stage, after its norm where it has one; pictures by the network's own
        statistics.
        """
        own = image * self.factor + self.shift
        return self.net.forward_intermediates(
            own, indices=1, norm=True, intermediates_only=True, output_fmt="NCHW"
        )[-1]

    def forward(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        """See the class."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.maps(image)
        return self.head(maps)

    def train(self, mode: bool = True) -> BackboneMaps:
        """As of nn.Module; a frozen network stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.net.eval()
        return self


@dataclass(frozen=True)
class Network:
    """A frozen tower.

    Attributes:
        name: as timm lists it, such as vit_large_patch14_dinov2 or tf_efficientnet_lite0; or
            open_clip:NAME, a ViT as open_clip lists it, such as open_clip:ViT-L-14-336-quickgelu.
        weights: file of its weights; `packaged` takes those that come with tf_efficientnet_lite0.
        blocks: so many of the last are taken, of a network that is no transformer its stages; 0
            takes all.
        activation: of a CLIP, for a file that does not say what it was trained with; it has to be
            that of `name`.
    """

    name: str
    weights: str = ""
    blocks: Natural = 0
    activation: Literal["auto", "quick_gelu", "gelu"] = "auto"

    def __post_init__(self) -> None:
        if self.blocks < 0:
            raise ValueError(f"networks: {self.name}: blocks {self.blocks} must not be below 0")


class BackboneFeatures(NamedTuple):
    """Of pictures: maps of blocks, the last one last, and a vector of each picture."""

    maps: list[Float[Tensor, "batch _rows _columns _channel"]]
    cls: Float[Tensor, "batch channel"]


class BackboneBlocks(nn.Module):
    """A frozen network -> what its last blocks see of pictures of any size that its patches divide.

    The vector of a picture is the last block's [CLS] after the network's final norm, or, where
    there is none, the mean of its last map, normalised.

    Args:
        network: which. Its weights are not read here: see captionseg.modeling.weights.pretrained.

    Raises:
        ValueError: for a name that nobody knows, or a network without maps.
    """

    factor: Float[Tensor, "3 1 1"]
    shift: Float[Tensor, "3 1 1"]

    def __init__(self, network: Network) -> None:
        super().__init__()
        if network.name.startswith(PREFIX):
            net: Any = ClipTower(network.name.removeprefix(PREFIX))
        else:
            sizes = {"dynamic_img_size": True}
            net = create(network.name, {**sizes, "weight_init": "skip"}, sizes, {})
        self.net = net.requires_grad_(False).eval()
        self.blocks, self.token = (
            network.blocks or None,
            getattr(self.net, "cls_token", None) is not None,
        )
        for name, value in zip(
            ("factor", "shift"), statistics(self.net.pretrained_cfg), strict=True
        ):
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> BackboneFeatures:
        """Of pictures, normalised by ImageNet's mean and deviation."""
        own = image * self.factor + self.shift
        last, maps = self.net.forward_intermediates(own, indices=self.blocks, output_fmt="NCHW")
        maps = [x.movedim(1, -1) for x in maps]
        if self.token:
            return BackboneFeatures(maps, last[:, 0])
        mean = maps[-1].float().mean((1, 2))
        return BackboneFeatures(maps, F.layer_norm(mean, mean.shape[1:]))


def probe(network: Network, side: int) -> tuple[list[int], int]:
    """Widths of the blocks of a network, and pixels along a cell of its last map; nothing is
    computed.

    Args:
        network: which.
        side: of the pictures.

    Raises:
        ValueError: as BackboneBlocks, or for a network that takes no such pictures or has not so
            many blocks.
    """
    with torch.device("meta"):
        blocks = BackboneBlocks(network)
        try:
            maps = blocks(torch.zeros(1, 3, side, side)).maps
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"networks: {network.name}, blocks: {network.blocks}, on pictures of {side} "
                f"pixels: {one_line(error)}"
            ) from None
    return [x.shape[3] for x in maps], max(stage["reduction"] for stage in blocks.net.feature_info)


def statistics(config: Mapping[str, Any]) -> tuple[Float[Tensor, "3 1 1"], Float[Tensor, "3 1 1"]]:
    """Factor and shift from pictures normalised by ImageNet's mean and std to those of a config."""
    given = torch.tensor((MEAN, STD))
    wanted = torch.tensor((config["mean"], config["std"]))
    return (given[1] / wanted[1])[:, None, None], ((given[0] - wanted[0]) / wanted[1])[
        :, None, None
    ]


def create(name: str, *choices: dict[str, Any]) -> Any:
    """The network with the first of the choices that it takes: timm's families differ in what they
    can be told.

    Raises:
        ValueError: for a name that timm does not know, or a network without maps.
    """
    import timm

    if not timm.is_model(name):
        raise ValueError(
            f"backbone: timm has no model {name!r}; `timm.list_models()` lists what it has"
        )
    net: Any = None
    for choice in choices:
        try:
            net = timm.create_model(name, pretrained=False, num_classes=0, **choice)
            break
        except (TypeError, NotImplementedError, AssertionError):
            if choice is choices[-1]:
                raise
    if not hasattr(net, "forward_intermediates"):
        raise ValueError(f"backbone: {name} gives no maps (timm: forward_intermediates)")
    return net
