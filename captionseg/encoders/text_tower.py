"""Frozen text encoders, step by step, for models that change what is between the steps.

    tokens --embed--> token embeddings --states--> states of the last block --pool--> joint space

Learnt prompts are inserted into the token embeddings; a text segmenter reads the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.records import UserError
from captionseg.remarks import find_cut_texts, warn_too_long
from captionseg.runtime.weights import check_finite


@runtime_checkable
class TextTower(Protocol):
    """A frozen text encoder, as a torch module through which gradients flow.

    Attributes:
        width: W, width of token embeddings and states.
        out: D, width of the joint space.
        context: maximum length of a text in tokens.
    """

    width: int
    out: int
    context: int

    def tokens(self, texts: Sequence[str], longest: int = 0) -> Tensor:
        """Tokenise T texts: [T, n] int64 on the CPU, 0 pads, n is the length of the longest text.

        Texts of more than `longest` tokens (0 is no limit) or the context are cut before their end
        token, with a warning (`captionseg.remarks`).
        """
        ...

    def special(self, tokens: Tensor) -> Tensor:
        """Return which of the tokens [.., n] are padding, begin or end: [.., n] bool."""
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed tokens [T, n]: [T, n, W], without positions."""
        ...

    def states(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """Return the states [T, n, W] of the last block for token embeddings [T, n, W].

        `tokens` [T, n] tells which are padding.
        """
        ...

    def pool(self, states: Tensor, tokens: Tensor) -> Tensor:
        """Return text embeddings [T, D] of states [T, n, W], not normalised."""
        ...


class BertTower(nn.Module):
    """BERT (Devlin et al. 2019), with the mean over tokens as embedding (Sentence-BERT).

    Args:
        weights: tensors of a checkpoint, by their names in transformers.
        config: its config.json.
        encode: its tokenizer, of the library tokenizers.
        context: maximum length of a text in tokens.

    Raises:
        UserError: if weights and config do not fit together.
    """

    def __init__(
        self, weights: dict[str, Tensor], config: dict[str, Any], encode: Any, *, context: int = 256
    ) -> None:
        super().__init__()
        self.width = self.out = config["hidden_size"]
        self.context, self.encode = context, encode
        encode.enable_padding(pad_id=config.get("pad_token_id", 0))
        with torch.device("meta"):  # no random weights, which would be replaced at once
            self.words, self.places, self.kinds = (
                # without drawing weights, for which torch would import sympy on this device
                nn.Embedding.from_pretrained(torch.empty(config[size], self.width), freeze=False)
                for size in ("vocab_size", "max_position_embeddings", "type_vocab_size")
            )
            self.norm = nn.LayerNorm(self.width, config["layer_norm_eps"])
            self.layers = nn.ModuleList(
                BertLayer(
                    self.width,
                    config["num_attention_heads"],
                    config["intermediate_size"],
                    config["layer_norm_eps"],
                )
                for _ in range(config["num_hidden_layers"])
            )
        try:
            renamed = rename_tensors(weights, config["num_hidden_layers"])
            self.load_state_dict({k: v.float() for k, v in renamed.items()}, assign=True)
        except (KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(f"not the weights of a BERT with this config.json: {reason}") from None
        check_finite(renamed, "the weights of a BERT")

    def tokens(self, texts: Sequence[str], longest: int = 0) -> Tensor:
        """See TextTower."""
        context = min(longest or self.context, self.context)
        self.encode.enable_truncation(context)
        rows = self.encode.encode_batch(list(texts))
        warn_too_long(
            (text for text, row in zip(texts, rows, strict=True) if row.overflowing), context
        )
        return torch.tensor([row.ids for row in rows], dtype=torch.int64)

    def special(self, tokens: Tensor) -> Tensor:
        """See TextTower: [PAD], [CLS] and [SEP]."""
        begin, end = (self.encode.token_to_id(name) for name in ("[CLS]", "[SEP]"))
        return (tokens == 0) | (tokens == begin) | (tokens == end)

    def embed(self, tokens: Tensor) -> Tensor:
        """See TextTower."""
        return self.words(tokens)

    def states(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """See TextTower."""
        x = self.norm(embedded + self.kinds.weight[0] + self.places.weight[: embedded.shape[1]])
        seen = (tokens != 0)[:, None, None]
        for layer in self.layers:
            x = layer(x, seen)
        return x

    def pool(self, states: Tensor, tokens: Tensor) -> Tensor:
        """See TextTower."""
        is_token = (tokens != 0)[..., None].to(states.dtype)
        return (states * is_token).sum(1) / is_token.sum(1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens [T, n]: [T, D], not normalised."""
        return self.pool(self.states(self.embed(tokens), tokens), tokens)


class BertLayer(nn.Module):
    """A post-norm transformer block; nn.TransformerEncoderLayer is much slower in bf16 on CPUs."""

    def __init__(self, width: int, heads: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """Apply the block to states [T, n, W]; keys with a False `seen` [T, 1, 1, n]
        are ignored.
        """
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if x.requires_grad:  # the backward pass of the fused form is slow on CPUs
            weights = (
                (q @ k.transpose(2, 3) / q.shape[3] ** 0.5)
                .masked_fill(~seen, -torch.inf)
                .softmax(3)
            )
            attended = weights.to(v.dtype) @ v
        else:
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = self.norm1(x + self.proj(attended.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))


_BERT = {
    "attention.output.dense": "proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "fc1",
    "output.dense": "fc2",
    "output.LayerNorm": "norm2",
}


def rename_tensors(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Rename BERT's tensors from transformers' names to those of BertTower.

    Raises:
        KeyError: for a missing tensor, or more than `layers` layers.
    """
    tensors = {name.removeprefix("bert."): value for name, value in weights.items()}
    if any(name.startswith(f"encoder.layer.{layers}.") for name in tensors):
        raise KeyError(f"it has more than {layers} layers")
    out = {
        f"{own}.weight": tensors[f"embeddings.{name}.weight"]
        for own, name in (
            ("words", "word_embeddings"),
            ("places", "position_embeddings"),
            ("kinds", "token_type_embeddings"),
            ("norm", "LayerNorm"),
        )
    }
    out["norm.bias"] = tensors["embeddings.LayerNorm.bias"]
    for n in range(layers):
        for kind in ("weight", "bias"):
            source, target = f"encoder.layer.{n}.", f"layers.{n}."
            out[f"{target}qkv.{kind}"] = torch.cat(
                [
                    tensors[f"{source}attention.self.{part}.{kind}"]
                    for part in ("query", "key", "value")
                ]
            )
            out |= {
                f"{target}{own}.{kind}": tensors[f"{source}{name}.{kind}"]
                for name, own in _BERT.items()
            }
    return out


class ClipTower(nn.Module):
    """CLIP's text encoder in open_clip: causal, read out at the end of the text.

    Args:
        model: model of open_clip.
        encode: its tokenizer.

    Raises:
        UserError: for another kind of text encoder.
    """

    def __init__(self, model: Any, encode: Any) -> None:
        super().__init__()
        self.net: Any = getattr(model, "text", model)
        mask = getattr(self.net, "attn_mask", None)
        projection = getattr(self.net, "text_projection", None)
        if mask is None or getattr(self.net, "cls_emb", None) is not None or projection is None:
            raise UserError(
                "index.open_clip.model: this model needs a text encoder like CLIP's (causal, one "
                "vector at the end of the text); use one such as ViT-B-16"
            )
        self.encode = encode
        self.width, self.context = (
            self.net.token_embedding.weight.shape[1],
            len(self.net.positional_embedding),
        )
        weight = getattr(projection, "weight", projection)
        self.out = weight.shape[0] if isinstance(projection, nn.Linear) else weight.shape[1]

    def tokens(self, texts: Sequence[str], longest: int = 0) -> Tensor:
        """See TextTower."""
        context = min(longest or self.context, self.context)
        tokens = self.encode(list(texts), context_length=context)
        warn_too_long(find_cut_texts(self.encode, texts, tokens), context)
        # only columns after the longest text are padding: inside a text, 0 is "!"
        return tokens[:, : int(tokens.argmax(1).max()) + 1] if len(tokens) else tokens[:, :1]

    def special(self, tokens: Tensor) -> Tensor:
        """See TextTower: begin and end are the two largest numbers; all after the
        end is padding.
        """
        end = len(self.net.token_embedding.weight) - 1
        return (tokens == end - 1) | ((tokens == end).cumsum(-1) > 0)

    def embed(self, tokens: Tensor) -> Tensor:
        """See TextTower."""
        return self.net.token_embedding(tokens)

    def states(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """See TextTower."""
        length = embedded.shape[1]
        mask = self.net.attn_mask[:length, :length]
        return self.net.transformer(
            embedded + self.net.positional_embedding[:length], attn_mask=mask
        )

    def pool(self, states: Tensor, tokens: Tensor) -> Tensor:
        """See TextTower."""
        x = self.net.ln_final(
            states[torch.arange(len(states), device=states.device), tokens.argmax(1)]
        )
        projection = self.net.text_projection
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens [T, n]: [T, D], not normalised."""
        return self.pool(self.states(self.embed(tokens), tokens), tokens)
