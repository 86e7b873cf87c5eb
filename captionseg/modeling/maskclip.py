"""MaskCLIP (Zhou et al. 2022): compares frozen dense features with class embeddings.

Nothing is trained. CLIP's dense features are the values of its last attention layer
(captionseg.encoders.open_clip). Those of an encoder that is not aligned with text go through a
linear alignment that was trained on captions. Cached features of whole pictures are read, or
pictures go through the encoder (`picture`), window by window.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.dense_head import DenseHead, HeadConfig
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import PictureEncoder
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.segmenter import Gather, InputSpec, Sizes, Start, gather_single
from captionseg.modeling.training_free import compare_cells
from captionseg.typed import AboveZero, Natural, Share


@dataclass(frozen=True)
class MaskClipConfig:
    """Configuration of MaskCLIP.

    Attributes:
        head: config of the head that maps dense features to the space of texts.
        picture: half the side of windows in pixels, where these are not chosen, see WindowParams;
            their pictures go through the frozen encoder. 0 reads cached dense features instead.
        scale: factor of cosines before the softmax over classes, for the two options below.
        prompt_denoising: threshold in 0..1; classes whose probability is below it everywhere in
            the picture are left out; 0 is off. The released configurations of pseudo labels have
            0.5.
        key_smoothing: threshold in 0..1; positions whose best probability is below it get the mean
            over all positions, weighted by the similarity of features; 0 is off, 1 smooths
            everywhere. The paper uses the keys of the last attention layer, this model the dense
            features.
    """

    head: HeadConfig = field(default_factory=HeadConfig)
    picture: Natural = 0
    scale: AboveZero = 100.0
    prompt_denoising: Share = 0.0
    key_smoothing: Share = 0.0

    @property
    def reads(self) -> InputSpec:
        """See Segmenter."""
        return InputSpec(picture=self.picture, dense=not self.picture, live=bool(self.picture))

    def with_sizes(self, sizes: Sizes) -> MaskClipConfig:
        """Return a copy in which widths that are 0 are those of the data."""
        return self if self.head.width else replace(self, head=sizes.head)


class MaskClip(nn.Module):
    """The MaskCLIP model; see the module's docstring."""

    def __init__(self, config: MaskClipConfig) -> None:
        super().__init__()
        self.config = config
        self.head = DenseHead(config.head).requires_grad_(False)
        self.live: PictureEncoder | None = None

    def start(self, data: Start) -> None:
        """Copy the frozen encoder's head."""
        if data.space is not None:
            self.head.load_state_dict(data.space.head().state_dict())
            if self.config.picture:
                self.attach(data.space.encoder)

    def attach(self, encoder: Encoder) -> None:
        """See HoldsEncoder; only used if pictures go through the encoder."""
        self.live = PictureEncoder(encoder.towers, None)

    def forward(self, batch: Batch) -> None:
        """Do nothing, because nothing is trained."""

    def losses(
        self, outputs: None, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return no losses, because nothing is trained."""
        return {}

    def read_dense(self, inputs: Inputs) -> Float[Tensor, "batch gh gw feature"]:
        """Return the dense features of pictures, or cached ones."""
        if not self.config.picture:
            assert inputs.dense is not None
            return inputs.dense
        assert self.live is not None, "attach the encoder first"
        assert inputs.image is not None
        return self.live.dense(inputs.image)

    def similarity(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class gh gw"]:
        """Return the cosines of cells and classes, after prompt denoising and key smoothing."""
        dense = self.head(self.read_dense(inputs))
        cosine = compare_cells(dense, class_embeddings)
        if not self.config.prompt_denoising and not self.config.key_smoothing:
            return cosine
        probability = (self.config.scale * cosine).softmax(1)
        if self.config.prompt_denoising:
            nowhere = probability.amax((2, 3), keepdim=True) < self.config.prompt_denoising
            left_out = nowhere & ~nowhere.all(1, keepdim=True)  # unless it would be all classes
            cosine = cosine.masked_fill(left_out, -1.0)
            probability = (self.config.scale * cosine).softmax(1)
        if not self.config.key_smoothing:
            return cosine
        return smooth_unsure(probability, F.normalize(dense, dim=-1), self.config.key_smoothing)

    def segment(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: bilinearly upsampled cosines, or probabilities with key smoothing."""
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
    """Replace the probabilities of unsure positions by a weighted mean over all positions.

    Args:
        probability: probabilities of classes.
        dense: L2-normalised features. The weights are their cosines, clamped at 0 and normalised
            to a sum of 1.
        threshold: positions whose best probability is below it are unsure.
    """
    flat, keys = probability.flatten(2), dense.flatten(1, 2)
    weights = (keys @ keys.transpose(1, 2)).clamp(min=0)
    mean = flat @ (weights / weights.sum(2, keepdim=True)).transpose(1, 2)
    unsure = flat.amax(1, keepdim=True) < threshold
    return torch.where(unsure, mean, flat).view_as(probability)
