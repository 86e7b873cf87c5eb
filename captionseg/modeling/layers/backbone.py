"""Any network of timm as the embedding of patches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captionseg.grids import MEAN, STD


class BackboneMaps(nn.Module):
    """The last maps of a timm network, through a linear map: [B, 3, H, W] -> [B, D, h, w].

    Args:
        name: as timm lists it, such as tf_efficientnet_lite0 or vit_small_patch16_224.
        width: D.
        size: of training pictures; a ViT takes others too.
        stride: of the maps, in pixels, where the network lets it be chosen (dilation); its own elsewhere.
        frozen: no gradient, batch norms in evaluation; the linear map is trained all the same.

    Raises:
        ValueError: for a name that timm does not know, or a network without maps.
    """

    factor: Tensor
    shift: Tensor

    def __init__(self, name: str, width: int, *, size: int, stride: int = 16, frozen: bool = True) -> None:
        super().__init__()
        import timm

        if not timm.is_model(name):
            raise ValueError(f"backbone: timm has no model {name!r}; `timm.list_models()` lists what it has")
        net: Any = create(name, {"img_size": size, "dynamic_img_size": True}, {"output_stride": stride}, {})
        if not hasattr(net, "forward_intermediates"):
            raise ValueError(f"backbone: {name} gives no maps (timm: forward_intermediates)")
        given = torch.tensor((MEAN, STD))
        wanted = torch.tensor((net.pretrained_cfg["mean"], net.pretrained_cfg["std"]))
        self.register_buffer("factor", (given[1] / wanted[1])[:, None, None], persistent=False)
        self.register_buffer("shift", ((given[0] - wanted[0]) / wanted[1])[:, None, None], persistent=False)
        self.net, self.frozen = net.requires_grad_(not frozen).eval(), frozen  # one picture is no batch for a norm
        with torch.no_grad():
            maps = self.maps(torch.zeros(1, 3, size, size))
        self.side = maps.shape[2]
        self.head = nn.Conv2d(maps.shape[1], width, 1)
        self.train(self.training)

    def maps(self, image: Tensor) -> Tensor:
        """[B, C, h, w] of the last stage, after its norm where it has one; pictures by the network's own statistics."""
        own = image * self.factor + self.shift
        return self.net.forward_intermediates(own, indices=1, norm=True, intermediates_only=True,
                                              output_fmt="NCHW")[-1]  # fmt: skip

    def forward(self, image: Tensor) -> Tensor:
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


def create(name: str, *choices: dict[str, Any]) -> Any:
    """The network with the first of the choices that it takes: timm's families differ in what they can be told."""
    import timm

    for choice in choices[:-1]:
        try:
            return timm.create_model(name, pretrained=False, num_classes=0, **choice)
        except (TypeError, NotImplementedError, AssertionError):
            continue
    return timm.create_model(name, pretrained=False, num_classes=0, **choices[-1])
