"""Zero-shot classification of whole pictures with any model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from captionseg.encoders.encoder import Encoder
from captionseg.model_inputs import Inputs
from captionseg.modeling.capabilities import EmbedsImages, EmbedsTexts


def classify(model: Any, inputs: Inputs, classes: Tensor, picture: Tensor | None = None) -> Tensor:
    """Score each class for each picture, [B, C]; only the order within a picture is meaningful.

    A model that embeds whole pictures gives its cosines (`image_logits`): of groups as in training,
    of the bag of regions, or of the picture as one segment. A model on frozen features uses its
    encoder's embedding of the picture. For any other model, a class's score is the mean of its mask
    logits over the picture; if these are cosines, this is the product with the mean of the cells.

    Args:
        model: a Segmenter.
        inputs: inputs of the pictures.
        classes: [C, D] class embeddings.
        picture: [B, D] embeddings of the pictures by the frozen encoder, see `embed_picture`.
    """
    if isinstance(model, EmbedsImages):
        return model.image_logits(inputs, classes)
    if picture is None:
        return model.segment(inputs, classes)[:, -len(classes) :].float().mean((2, 3))
    texts = (
        model.embed_texts(classes) if isinstance(model, EmbedsTexts) else normalise_vectors(classes)
    )
    return normalise_vectors(picture) @ texts.T


def embed_picture(model: Any, encoder: Encoder, image: np.ndarray) -> Tensor | None:
    """Embed one picture uint8 [H, W, 3] with a model's frozen encoder, for `picture` of `classify`:
    [1, D] on the CPU.

    None for a model that embeds pictures itself, and for an encoder whose pooled features are not
    aligned with texts (alignments are not saved with models).
    """
    if isinstance(model, EmbedsImages) or not encoder.aligned:
        return None
    return torch.from_numpy(encoder.features([image]).pooled.astype(np.float32))


def normalise_vectors(vectors: Tensor) -> Tensor:
    """Normalise vectors [.., D] to unit length."""
    return F.normalize(vectors.float(), dim=-1)
