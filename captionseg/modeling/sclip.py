"""SCLIP (Wang et al. 2024): patches attend to patches with similar queries or keys.

Correlative self-attention (arXiv 2312.01597): softmax(q q' / sqrt(d)) + softmax(k k' / sqrt(d))
weighs v in the last block. Residual and MLP follow. Nothing is trained.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from captionseg.encoders.last_block import Attended, Mixed
from captionseg.modeling.segmenter import InputSpec, Sizes
from captionseg.modeling.training_free import TrainingFree, read_pictures
from captionseg.runtime.device import full_precision
from captionseg.typed import Count


@dataclass(frozen=True)
class SclipConfig:
    """Configuration of SCLIP.

    Attributes:
        picture: half the side of windows in pixels, where these are not chosen, see WindowParams.
    """

    picture: Count = 224

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return read_pictures(self.picture)

    def with_sizes(self, sizes: Sizes) -> SclipConfig:
        """Return the config, which has no widths."""
        return self


class Sclip(TrainingFree):
    """The SCLIP model; see the module's docstring."""

    name = "sclip"
    residual = True

    def mix(self, attended: Attended, image: Tensor) -> Mixed:
        """See TrainingFree."""
        weights = correlate(attended.query, attended.key).to(attended.value.dtype)
        return Mixed(weights @ attended.value, attended.grid)


def correlate(
    query: Float[Tensor, "batch head token channel"], key: Float[Tensor, "batch head token channel"]
) -> Float[Tensor, "batch head token token"]:
    """Return the weights of correlative self-attention, whose rows sum to 2."""
    with full_precision(query):
        query, key = query.float(), key.float()
        scale = query.shape[3] ** -0.5
        by_query, by_key = (scale * x @ x.transpose(2, 3) for x in (query, key))
        return by_query.softmax(3) + by_key.softmax(3)
