"""Loads image-text models of transformers from a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captionseg.encoders.open_clip_tokenizer import check_vocabulary
from captionseg.remarks import may_be_cut, warn_too_long
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
