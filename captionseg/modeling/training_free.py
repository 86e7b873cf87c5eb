"""What models have in common that train nothing and replace the attention of the frozen encoder's
last block: SCLIP, NACLIP, ProxyCLIP.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.encoder import Encoder
from captionseg.encoders.last_block import Attended, AttendingEncoder, Mixed, find_attending
from captionseg.encoders.text_space import denormalise
from captionseg.model_inputs import Batch, Inputs
from captionseg.modeling.segmenter import Gather, InputSpec, Start, gather_single


class TrainingFree(nn.Module):
    """Compares pixels with class embeddings, by the frozen encoder with other attention in its last
    block (`mix`).

    It has no weights: the encoder is attached.

    Args:
        config: config of the model, with `reads`.
    """

    name: ClassVar[str]
    """Key of MODELS."""
    residual: ClassVar[bool] = False
    """Whether the last block keeps the residual of its attention and its MLP."""
    device_marker: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.live: AttendingEncoder | None = None
        # without weights, nothing else says on which device the model is
        self.register_buffer("device_marker", torch.zeros(0), persistent=False)

    def start(self, data: Start) -> None:
        """Attach the frozen encoder.

        Raises:
            UserError: see `attach`.
        """
        assert data.space is not None
        self.attach(data.space.encoder)

    def attach(self, encoder: Encoder) -> None:
        """See HoldsEncoder.

        Raises:
            UserError: for an encoder whose last attention cannot be replaced.
        """
        self.live = find_attending(encoder, self.name)

    def forward(self, batch: Batch) -> None:
        """Do nothing, because nothing is trained."""

    def losses(
        self, outputs: None, gather: Gather = gather_single, *, rank: int = 0
    ) -> dict[str, Tensor]:
        """Return no losses, because nothing is trained."""
        return {}

    def mix(self, attended: Attended, image: Float[Tensor, "batch 3 height width"]) -> Mixed:
        """Return the values as they leave the attention that the method puts in place.

        Args:
            attended: queries, keys and values of the last block.
            image: pictures, normalised by ImageNet's mean and deviation.
        """
        raise NotImplementedError

    def dense(
        self, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch rows columns embedding"]:
        """Return dense features in the space of texts, not normalised, of such pictures."""
        assert self.live is not None, "attach the encoder first"
        with torch.no_grad():
            mix = functools.partial(self.mix, image=image)
            return self.live.attend(denormalise(image), mix, residual=self.residual).float()

    def segment(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Float[Tensor, "batch class {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter: bilinearly upsampled cosines."""
        assert inputs.image is not None
        cosine = compare_cells(self.dense(inputs.image), class_embeddings)
        return F.interpolate(cosine, inputs.size, mode="bilinear", align_corners=False)

    def label(
        self, inputs: Inputs, class_embeddings: Float[Tensor, "class embedding"]
    ) -> Int64[Tensor, "batch {inputs.size[0]} {inputs.size[1]}"]:
        """See Segmenter."""
        return self.segment(inputs, class_embeddings).argmax(1)


def read_pictures(side: int) -> InputSpec:
    """Return what such a model reads: pictures, whose windows are twice as large as `side` pixels,
    through the frozen encoder.
    """
    return InputSpec(picture=side, live=True, attention=True)


def compare_cells(
    dense: Float[Tensor, "batch rows columns embedding"],
    class_embeddings: Float[Tensor, "class embedding"],
) -> Float[Tensor, "batch class rows columns"]:
    """Return the cosines of cells and classes."""
    dense, classes = (F.normalize(x.float(), dim=-1) for x in (dense, class_embeddings))
    return torch.einsum("bhwd,cd->bchw", dense, classes)
