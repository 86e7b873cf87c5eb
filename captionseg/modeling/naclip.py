"""NACLIP (Hajimiri et al. 2025): patches attend to similar patches in their neighbourhood.

Neighbour-aware attention (arXiv 2404.08181): softmax(k k' / sqrt(d) + w) weighs v in the last
block, where w is a Gaussian of the distance of two patches. There is neither residual nor MLP.
Nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from captionseg.encoders.last_block import Attended, Mixed
from captionseg.modeling.segmenter import InputSpec, Sizes
from captionseg.modeling.training_free import TrainingFree, read_pictures
from captionseg.runtime.device import full_precision
from captionseg.typed import AboveZero, Count


@dataclass(frozen=True)
class NaclipConfig:
    """Configuration of NACLIP.

    Attributes:
        picture: half the side of windows in pixels, where these are not chosen, see WindowParams.
        deviation: standard deviation of the Gaussian in patches (section 4.1).
    """

    picture: Count = 224
    deviation: AboveZero = 5.0

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return read_pictures(self.picture)

    def with_sizes(self, sizes: Sizes) -> NaclipConfig:
        """Return the config, which has no widths."""
        return self


class Naclip(TrainingFree):
    """The NACLIP model; see the module's docstring."""

    name = "naclip"

    def mix(self, attended: Attended, image: Tensor) -> Mixed:
        """See TrainingFree."""
        weights = attend_nearby(attended.key, attended.grid, self.config.deviation)
        return Mixed(weights.to(attended.value.dtype) @ attended.value, attended.grid)


def attend_nearby(
    key: Float[Tensor, "batch head token channel"], grid: tuple[int, int], deviation: float
) -> Float[Tensor, "batch head token token"]:
    """Return the weights of neighbour-aware attention; class tokens and registers are near to
    nothing.

    Args:
        key: of class tokens and registers, if there are any, and of the patches.
        grid: rows and columns of patches.
        deviation: see NaclipConfig.
    """
    with full_precision(key):
        key = key.float()
        near, others = measure_nearness(*grid, deviation), key.shape[2] - grid[0] * grid[1]
        near = F.pad(near, (others, 0, others, 0)).to(key)
        return (key.shape[3] ** -0.5 * key @ key.transpose(2, 3) + near).softmax(3)


def measure_nearness(rows: int, columns: int, deviation: float) -> Float[Tensor, "patch patch"]:
    """Return exp(-distance^2 / (2 deviation^2)) of all patches of a grid."""
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).view(-1, 2).float()
    return torch.exp(torch.cdist(places, places).square() / (-2.0 * deviation**2))
