"""Loads the tokenizer of a model of open_clip; no server is ever asked for one.

CLIP's own byte-pair encoding comes with open_clip. Tokenizers of other models (SigLIP, CLIPA,
worldwide models) are read by transformers from a local folder, and used with the cleaning of texts,
the context length and the padding that open_clip has for the model.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from captionseg.encoders.open_clip_releases import WHERE
from captionseg.records import UserError, one_line
from captionseg.typed import MOST

FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "tokenizer.model")
LEAST = 0.9
"""Share of a model's tokens that its own tokenizer has at least: bert-base-uncased has 30522 of the
32000 of CLIPA, SigLIP's has an eighth of those of SigLIP 2.
"""


def load_tokenizer(name: str, folder: str, *, weights: str, tokens: int) -> Any:
    """Load the tokenizer of a model.

    Args:
        name: name of the model in open_clip.
        folder: index.open_clip.tokenizer.
        weights: tag or path of the weights, whose folder may have a tokenizer, too.
        tokens: number of tokens that the text encoder knows.

    Raises:
        UserError: if a folder is needed and not given, or given and not needed; or for one without
            a tokenizer, or with that of another model.
    """
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    text: dict[str, Any] = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    settings: dict[str, Any] = text.get("tokenizer_kwargs", {})
    own = text.get("hf_tokenizer_name", "")
    if not own and "siglip" in name.lower():  # open_clip goes by the name, too
        own, settings = "SigLIP", {"clean": "canonicalize"}
    if not own:
        if folder:
            raise UserError(
                f"{WHERE}.tokenizer: {name} has CLIP's own tokenizer, which comes with open_clip; "
                "leave it empty"
            )
        return load_clip_tokenizer(name, json.dumps(text, sort_keys=True))
    path = find_folder(name, own, folder=folder, weights=weights)
    try:
        tokenizer = HFTokenizer(
            str(path),
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            local_files_only=True,
            **settings,
        )
        tokenizer(["a"])
        # what is cut is said by captionseg.remarks
        tokenizer.tokenizer.model_max_length = MOST
    except Exception as error:  # broken files can raise anything
        raise UserError(
            f"{WHERE}.tokenizer: {path}: transformers cannot load a tokenizer from it: "
            f"{one_line(error) or type(error).__name__}"
        ) from None
    check_vocabulary(path, len(tokenizer.tokenizer), tokens=tokens, where=f"{WHERE}.tokenizer")
    return tokenizer


@functools.cache
def load_clip_tokenizer(name: str, text: str) -> Any:
    """Return CLIP's tokenizer as a model has it, the same one each time.

    Args:
        name: name of the model in open_clip.
        text: its `text_cfg` as JSON, as two models may be added under one name.
    """
    import open_clip

    del text
    return open_clip.get_tokenizer(name)


def find_folder(name: str, own: str, *, folder: str, weights: str) -> Path:
    """Return the folder with the files of a model's tokenizer.

    Raises:
        UserError: if it is not given, or has no tokenizer.
    """
    path = Path(folder).expanduser()
    if not folder:
        beside = Path(weights).expanduser().parent
        found = Path(weights).is_file() and any((beside / file).is_file() for file in FILES)
        raise UserError(
            f"{WHERE}.tokenizer: {name} needs the tokenizer of {own}, which is not downloaded; "
            + (f"set it to {beside}" if found else f"give a local folder with its {FILES[0]}")
        )
    if not any((path / file).is_file() for file in FILES):
        raise UserError(
            f"{WHERE}.tokenizer: {path}: no tokenizer there ({', '.join(FILES)}); {name} needs "
            f"that of {own}"
        )
    return path


def check_vocabulary(path: Path, count: int, *, tokens: int, where: str) -> None:
    """Refuse the tokenizer of another model, as far as numbers of tokens tell.

    Args:
        path: its folder, for the message.
        count: number of its tokens.
        tokens: number of tokens that the text encoder knows.
        where: dotted path of the folder, for the message.

    Raises:
        UserError: if it has more than those, or far fewer.
    """
    if not LEAST * tokens <= count <= tokens:
        raise UserError(
            f"{where}: {path}: a tokenizer of {count} tokens, but the text encoder knows {tokens}; "
            "it is that of another model"
        )
