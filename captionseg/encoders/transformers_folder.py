"""Loads image-text models of transformers from a local folder: only safetensors, no custom code, no
network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captionseg.encoders.open_clip_tokenizer import check_vocabulary
from captionseg.records import UserError, one_line
from captionseg.remarks import may_be_cut, warn_too_long
from captionseg.runtime.weights import check_finite
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
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
    from transformers.utils import logging

    if not (folder / "config.json").is_file():
        raise UserError(
            f"{where}: no config.json in {str(folder)!r}; give a local folder of a {family[-1]}"
        )
    logging.disable_progress_bar()
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(folder), **local)
        if config.model_type not in family:
            raise UserError(
                f"{where}: {folder} is a {config.model_type}, not one of {', '.join(family)}"
            )
        model, report = AutoModel.from_pretrained(
            str(folder),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # or it would not say which tensors they are
            dtype="float32",
            **local,
        )
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **local)
        processor = AutoImageProcessor.from_pretrained(str(folder), **local)
    except UserError:
        raise
    except Exception as error:  # broken files can raise anything
        raise UserError(
            f"{where}: {folder} does not load as a {family[-1]}: "
            f"{one_line(error) or type(error).__name__}"
        ) from None
    check_report(folder, report, where=where)
    check_finite(model.state_dict(), f"{where}: {folder}")
    tokens = model.config.text_config.vocab_size
    check_vocabulary(folder, len(tokenizer), tokens=tokens, where=where)
    tokenizer.model_max_length = MOST  # what is cut is said by captionseg.remarks
    return model, tokenizer, processor


def check_report(folder: Path, report: dict[str, Any], *, where: str) -> None:
    """Refuse weights that do not have all tensors of the config, in their shapes.

    Raises:
        UserError: naming the first tensor.
    """
    if lost := sorted(report["missing_keys"]):
        raise UserError(
            f"{where}: {folder} lacks {len(lost)} tensors, such as {lost[0]}; use a complete "
            "checkpoint"
        )
    if odd := sorted(map(str, report.get("mismatched_keys") or ())):
        raise UserError(
            f"{where}: {folder}: the shape of {odd[0]} does not match config.json; use a complete "
            "checkpoint"
        )


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
