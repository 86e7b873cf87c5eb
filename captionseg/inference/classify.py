"""Zero-shot classification of whole pictures, by any model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from captionseg.encoders.encoder import Encoder
from captionseg.modeling.capabilities import EmbedsImages, EmbedsTexts
from captionseg.records import Inputs


def classify(model: Any, inputs: Inputs, classes: Tensor, picture: Tensor | None = None) -> Tensor:
    """[B, C]: how well each class fits each picture; only the order within a picture means
    anything.

    A model that embeds whole pictures is asked for its cosines (`image_logits`): groups as captions
    saw them in training, the bag of regions, the picture as one segment. Of a model on frozen
    features it is the embedding that its encoder has of the picture. Where there is neither, a
    class has the mean of its mask logits over the picture; where these are cosines that is its
    product with the mean of the cells.

    Args:
        model: a Segmenter.
        inputs: of the pictures.
        classes: [C, D] class embeddings.
        picture: [B, D] embeddings of the pictures by the frozen encoder, see `embed_picture`.
    """
    if isinstance(model, EmbedsImages):
        return model.image_logits(inputs, classes)
    if picture is None:
        return model.segment(inputs, classes)[:, -len(classes) :].float().mean((2, 3))
    texts = model.embed_texts(classes) if isinstance(model, EmbedsTexts) else unit(classes)
    return unit(picture) @ texts.T


def embed_picture(model: Any, encoder: Encoder, image: np.ndarray) -> Tensor | None:
    """`whole` of `classify` for one picture, uint8 [H, W, 3]: [1, D] on the CPU, by the encoder
    that a model stands on.

    None for a model that embeds pictures itself, and for an encoder whose pooled features are not
    in the space of texts (their alignment is not saved with models).
    """
    if isinstance(model, EmbedsImages) or not encoder.aligned:
        return None
    return torch.from_numpy(encoder.features([image]).pooled.astype(np.float32))


def unit(vectors: Tensor) -> Tensor:
    """[.., D] of length one."""
    return F.normalize(vectors.float(), dim=-1)
