"""Text encoders that are trained with a model; other models read frozen text embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from captionseg.modeling.layers.text import TextTransformer
from captionseg.records import UserError, one_line
from captionseg.runtime.weights import load_into
from captionseg.storage.folders import find_package_file
from captionseg.text.tokenizers import DEFAULT_BERT
from captionseg.typed import Count, Natural, ShareBelowOne


@dataclass(frozen=True)
class TextConfig:
    """Configuration of the text encoder of a model.

    Attributes:
        kind: frozen reads embeddings of the frozen encoder; clip is CLIP's transformer, trained
            from scratch; bert is BERT, whose [CLS] is the text's embedding.
        width: width of the embeddings; 0 takes it from the data or the weights.
        depth: number of transformer blocks.
        heads: number of attention heads.
        context: maximum length of a text in tokens.
        vocabulary: number of tokens; 0 takes it from the weights or the packaged tokenizer.
        hidden: hidden width of BERT's MLPs; 0 means four times the width.
        dropout: dropout of BERT in training.
        weights: folder with initial weights of a BERT of transformers (config.json,
            model.safetensors, tokenizer), whose sizes replace those above. `packaged` means the
            text encoder of the default run.
    """

    kind: Literal["frozen", "clip", "bert"] = "frozen"
    width: Natural = 0
    depth: Natural = 12
    heads: Count = 4
    context: Count = 77
    vocabulary: Natural = 0
    hidden: Natural = 0
    dropout: ShareBelowOne = 0.1
    weights: str = ""

    def __post_init__(self) -> None:
        if self.weights and self.kind != "bert":
            raise ValueError("text: weights need kind: bert")
        if self.kind != "frozen" and not self.weights and self.width % self.heads:
            raise ValueError(f"text: width {self.width} is no multiple of {self.heads} heads")


CLIP_VOCABULARY, BERT_VOCABULARY = 49408, 30522
FORM = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "is_decoder": False,
}
"""Fields of BERT's config that `BertText` supports only with this value, and that do not change the
shapes of tensors.
"""


def find_weights_folder(config: TextConfig) -> Path | None:
    """Return the folder of the initial weights; None if there are none."""
    if config.weights == "packaged":
        return find_package_file(*DEFAULT_BERT)
    return Path(config.weights) if config.weights else None


def with_sizes(config: TextConfig) -> TextConfig:
    """Return the config with the sizes of its checkpoint, if it names one.

    Raises:
        UserError: for a folder that holds no BERT.
    """
    folder = find_weights_folder(config)
    if folder is None:
        return config
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if stored["model_type"] != "bert":
            raise UserError(f"{folder}: a checkpoint of {stored['model_type']!r}, not of bert")
        if wrong := next(
            (name for name, value in FORM.items() if stored.get(name, value) != value), None
        ):
            raise UserError(
                f"{folder}: a bert with {wrong} {stored[wrong]!r}; only {FORM[wrong]!r} can be "
                "expressed"
            )
        return replace(
            config,
            width=stored["hidden_size"],
            depth=stored["num_hidden_layers"],
            heads=stored["num_attention_heads"],
            vocabulary=stored["vocab_size"],
            hidden=stored["intermediate_size"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: not a checkpoint of bert: {error}") from None


class BertText(nn.Module):
    """BERT (Devlin et al. 2019); the state of [CLS] is the text's embedding."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        self.net: Any = BertModel(
            BertConfig(
                vocab_size=config.vocabulary or BERT_VOCABULARY,
                hidden_size=config.width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                intermediate_size=config.hidden or 4 * config.width,
                hidden_dropout_prob=config.dropout,
                attention_probs_dropout_prob=config.dropout,
            ),
            add_pooling_layer=False,
        )

    def states(self, tokens: Tensor) -> Tensor:
        """Return the last states [B, T, width] of tokens [B, T], 0 pads."""
        return self.net(input_ids=tokens, attention_mask=(tokens != 0).long()).last_hidden_state

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the state of [CLS], [B, width], for tokens [B, T]."""
        return self.states(tokens)[:, 0]

    def start_from(self, folder: Path) -> None:
        """Load the weights of a checkpoint with the same sizes.

        Raises:
            UserError: if they are incomplete or do not fit.
        """
        from transformers import BertModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            reader: Any = BertModel
            bert, report = reader.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=True,
                add_pooling_layer=False,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder}: not a checkpoint of bert: {one_line(error)}") from None
        if lost := sorted(
            [*report["missing_keys"], *map(str, report.get("mismatched_keys") or ())]
        ):
            raise UserError(
                f"{folder}: not a checkpoint of bert: {len(lost)} tensors are missing or have "
                f"another shape, {lost[0]} among them"
            )
        load_into(self.net, bert.state_dict(), folder, "a BERT of this size")


def build_text_encoder(config: TextConfig) -> TextTransformer | BertText | None:
    """Build the text encoder of a config; None for frozen embeddings."""
    if config.kind == "frozen":
        return None
    if config.kind == "bert":
        return BertText(config)
    return TextTransformer(
        config.width,
        config.depth,
        config.heads,
        config.context,
        config.vocabulary or CLIP_VOCABULARY,
    )


def pad_and_join(parts: list[Tensor]) -> Tensor:
    """Concatenate token numbers [n_i, T_i], padded with 0, to [sum of n_i, T]."""
    longest = max(p.shape[1] for p in parts)
    return torch.cat([nn.functional.pad(p, (0, longest - p.shape[1])) for p in parts])
