"""Loads image-text models of transformers from a local folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captionseg.encoders.encoder import Features, normalise
from captionseg.encoders.open_clip_tokenizer import check_vocabulary
from captionseg.encoders.reduction import Reduction
from captionseg.grids import squash
from captionseg.remarks import may_be_cut, warn_too_long
from captionseg.runtime.device import Runtime
from captionseg.runtime.transformers_folder import TransformersFolder
from captionseg.typed import MOST


def load_folder(folder: Path, family: Sequence[str], *, where: str) -> tuple[Any, Any, Any]:
    """Load model, tokenizer and image processor, on the CPU.

    Args:
        folder: the folder.
        family: kinds of models (`model_type`) that are accepted.
        where: dotted path of the folder in params.yaml, for messages.

    Raises:
        UserError: if the folder is missing, has another model, incomplete weights or the tokenizer
            of another model.
    """
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    parts = TransformersFolder(folder, family, family[-1], where)
    model = parts.load_model(AutoModel)
    tokenizer, processor = parts.load(AutoTokenizer), parts.load(AutoImageProcessor)
    tokens = model.config.text_config.vocab_size
    check_vocabulary(folder, len(tokenizer), tokens=tokens, where=where)
    tokenizer.model_max_length = MOST  # what is cut is said by captionseg.remarks
    return model, tokenizer, processor


def see_squares(
    images: Sequence[np.ndarray],
    side: int,
    towers: Callable[[Tensor], tuple[Tensor, Tensor]],
    runtime: Runtime,
    reduction: Reduction | None,
) -> Features:
    """Compute the features of pictures that are squashed to squares.

    Args:
        images: uint8 [h, w, 3] each.
        side: of the squares, in pixels.
        towers: see Encoder.
        runtime: device and precision.
        reduction: of dense features; None leaves them.

    Returns:
        features whose pooled vector and descriptor are the image's embedding.
    """
    squares = np.stack([squash(image, side) for image in images])
    pixels = runtime.to(torch.from_numpy(squares).float())
    with torch.inference_mode(), runtime.autocast():
        pooled, dense = towers(pixels.permute(0, 3, 1, 2))
    image, dense = normalise(pooled.float().cpu().numpy()), dense.float()
    dense = reduction.reduce_tensor(dense) if reduction else dense
    return Features(image, image, dense.cpu().numpy())


def tokenise(tokenizer: Any, texts: Sequence[str], context: int) -> Any:
    """Tokenise T texts in lower case, padded at their end: input_ids and attention_mask, each [T,
    context]; what is cut is said.
    """
    lower = [text.lower() for text in texts]
    many = [text for text in lower if may_be_cut(text, context)]
    warn_too_long((text for text in many if len(tokenizer(text)["input_ids"]) > context), context)
    return tokenizer(
        lower,
        padding="max_length",
        padding_side="right",  # the default of transformers' class for SigLIP 2 is left
        truncation=True,
        max_length=context,
        return_attention_mask=True,
        return_tensors="pt",
    )
