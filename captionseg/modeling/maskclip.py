"""MaskCLIP (Zhou et al. 2022): dense features of a frozen image-text encoder, compared with class
embeddings.

Nothing is trained. Of CLIP the dense features are the values of the last attention
(captionseg.encoders.open_clip); of an encoder that is not aligned with text, its dense map through
the linear alignment that was trained on captions.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.segmenter import Gather, InputSpec, Sizes, Start, gather_single
from captionseg.typed import AboveZero, Share


@dataclass(frozen=True)
class MaskClipConfig:
    """What defines a MaskCLIP.

    Attributes:
        head: from the dense features to the space of texts.
        scale: of cosines before the softmax over classes that both options look at.
        prompt_denoising: classes whose probability reaches this nowhere in the picture are left
            out; 0 is off. The released configurations of pseudo labels have .5.
        key_smoothing: positions whose best probability is below this take the mean of all, weighted
            by how alike their features are; 0 is off, 1 smooths everywhere. The paper's keys are
            those of the last attention; here the dense features themselves.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    scale: AboveZero = 100.0
    prompt_denoising: Share = 0.0
    key_smoothing: Share = 0.0

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return InputSpec(dense=True)

    def with_sizes(self, sizes: Sizes) -> MaskClipConfig:
        """With widths that are 0 taken from the data."""
        return self if self.head.width else replace(self, head=sizes.head)


class MaskClip(nn.Module):
    """See the module's docstring."""

    def __init__(self, config: MaskClipConfig) -> None:
        super().__init__()
        self.config = config
        self.head = DenseHead(config.head).requires_grad_(False)

    def start(self, given: Start) -> None:
        """Take the frozen encoder's head."""
        if given.space is not None:
            self.head.load_state_dict(given.space.head().state_dict())

    def forward(self, batch: Batch) -> None:
        """Nothing is trained, so nothing is needed of a batch."""

    def losses(
        self, outputs: None, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """None."""
        return {}

    def similarity(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class gh gw"]:
        """Cosines of cells and classes, after whichever options are on."""
        assert inputs.dense is not None
        dense = F.normalize(self.head(inputs.dense), dim=-1)
        cosine = torch.einsum("bhwd,cd->bchw", dense, F.normalize(class_embeddings.float(), dim=-1))
        if not self.config.prompt_denoising and not self.config.key_smoothing:
            return cosine
        probability = (self.config.scale * cosine).softmax(1)
        if self.config.prompt_denoising:
            nowhere = probability.amax((2, 3), keepdim=True) < self.config.prompt_denoising
            out = nowhere & ~nowhere.all(1, keepdim=True)  # where all would go, none does
            cosine = cosine.masked_fill(out, -1.0)
            probability = (self.config.scale * cosine).softmax(1)
        if not self.config.key_smoothing:
            return cosine
        return smooth_unsure(probability, dense, self.config.key_smoothing)

    def segment(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
        """Mask logits: cosines, bilinearly upsampled; probabilities with key
        smoothing.
        """
        similarity = self.similarity(inputs, class_embeddings)
        return F.interpolate(similarity, inputs.size, mode="bilinear", align_corners=False)

    def label(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter."""
        return self.segment(inputs, class_embeddings).argmax(1)


def smooth_unsure(
    probability: Float[Tensor, "batch class h w"],
    dense: Float[Tensor, "batch h w feature"],
    threshold: float,
) -> Float[Tensor, "batch class h w"]:
    """Probabilities, where the best is below the threshold a mean over all positions.

    Args:
        probability: of classes.
        dense: L2-normalised; the weights are cosines, negative ones at 0, rows
            summing to one.
        threshold: see MaskClipConfig.
    """
    flat, keys = probability.flatten(2), dense.flatten(1, 2)
    weights = (keys @ keys.transpose(1, 2)).clamp(min=0)
    mean = flat @ (weights / weights.sum(2, keepdim=True)).transpose(1, 2)
    unsure = flat.amax(1, keepdim=True) < threshold
    return torch.where(unsure, mean, flat).view_as(probability)
