"""The text side of models: embeddings of a frozen encoder, or an encoder of one's own that is
trained with the rest.
"""

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
    """What texts are to a model.

    Attributes:
        kind: frozen takes embeddings from outside; clip is CLIP's transformer from scratch; bert
            reads [CLS].
        width: D of the embeddings, or of the transformer; 0 takes it from the data or from the
            weights.
        depth, heads, context: of the transformer.
        vocabulary: how many tokens there are; 0 takes it from the weights, or that of the packaged
            tokenizer.
        hidden: inside the MLPs of bert; 0 is four times the width.
        dropout: of bert while training.
        weights: folder of a BERT checkpoint of transformers (config.json, model.safetensors,
            tokenizer) that training starts from; its sizes replace those above. `packaged` is the
            sentence encoder of the default run.
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
"""What `BertText` is, and no tensor's shape tells of a checkpoint."""


def folder_of(config: TextConfig) -> Path | None:
    """Where the weights are that training starts from."""
    if config.weights == "packaged":
        return find_package_file(*DEFAULT_BERT)
    return Path(config.weights) if config.weights else None


def with_sizes(config: TextConfig) -> TextConfig:
    """The config with the sizes of the checkpoint that it names; unchanged where it names none.

    Raises:
        UserError: for a folder that holds no BERT.
    """
    folder = folder_of(config)
    if folder is None:
        return config
    try:
        given = json.loads((folder / "config.json").read_text())
        if given["model_type"] != "bert":
            raise UserError(f"{folder}: a checkpoint of {given['model_type']!r}, not of bert")
        if wrong := next(
            (name for name, value in FORM.items() if given.get(name, value) != value), None
        ):
            raise UserError(
                f"{folder}: a bert with {wrong} {given[wrong]!r}; only {FORM[wrong]!r} can be "
                "expressed"
            )
        return replace(
            config,
            width=given["hidden_size"],
            depth=given["num_hidden_layers"],
            heads=given["num_attention_heads"],
            vocabulary=given["vocab_size"],
            hidden=given["intermediate_size"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: not a checkpoint of bert: {error}") from None


class BertText(nn.Module):
    """BERT (Devlin et al. 2019): states of all tokens, the first of them the text's."""

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
        """[B, T, width] of tokens [B, T], 0 pads."""
        return self.net(input_ids=tokens, attention_mask=(tokens != 0).long()).last_hidden_state

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, width] at [CLS]."""
        return self.states(tokens)[:, 0]

    def start_from(self, folder: Path) -> None:
        """Take the weights of a checkpoint of the same sizes.

        Raises:
            UserError: if they do not fit.
        """
        from transformers import BertModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            reader: Any = BertModel
            given, report = reader.from_pretrained(
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
        load_into(self.net, given.state_dict(), folder, "a BERT of this size")


def text_encoder(config: TextConfig) -> TextTransformer | BertText | None:
    """The module of a config; None for frozen embeddings."""
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
    """[sum of n, T]: token numbers [n, T_i] in one, short ones padded with 0."""
    longest = max(p.shape[1] for p in parts)
    return torch.cat([nn.functional.pad(p, (0, longest - p.shape[1])) for p in parts])
