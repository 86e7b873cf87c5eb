"""The text side of a frozen encoder, step by step, for models that learn what is between the steps.

    tokens --embed--> token embeddings --states--> states of the last block --pool--> joint space

Prompts that are learnt stand among the token embeddings; what a text segmenter reads are the
states.
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
        width: W, of token embeddings and states.
        out: D, of the joint space.
        context: longest text in tokens.
    """

    width: int
    out: int
    context: int

    def tokens(self, texts: Sequence[str], longest: int = 0) -> Tensor:
        """[T, n] int64 on the CPU, zeros after the end of each text, n as the longest needs.

        Texts of more than `longest` tokens, or than the context, are cut; their end stays. It is
        said which (`captionseg.remarks`).
        """
        ...

    def special(self, tokens: Tensor) -> Tensor:
        """[.., n] bool: padding, and what marks the begin and the end of a text."""
        ...

    def embed(self, tokens: Tensor) -> Tensor:
        """[T, n] -> [T, n, W] token embeddings, without positions."""
        ...

    def states(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """[T, n, W] token embeddings -> [T, n, W] of the last block; of `tokens` it matters which
        are padding.
        """
        ...

    def pool(self, states: Tensor, tokens: Tensor) -> Tensor:
        """[T, n, W] states -> [T, D], not normalised."""
        ...


class BertTower(nn.Module):
    """BERT (Devlin et al. 2019) with the mean over tokens as a text's embedding (Sentence-BERT).

    Args:
        weights: a checkpoint's tensors by their names in transformers.
        config: its config.json.
        encode: its tokenizer, of the library tokenizers.
        context: longest text in tokens.

    Raises:
        UserError: if weights and config do not belong together.
    """

    def __init__(
        self, weights: dict[str, Tensor], config: dict[str, Any], encode: Any, *, context: int = 256
    ) -> None:
        super().__init__()
        self.width = self.out = config["hidden_size"]
        self.context, self.encode = context, encode
        encode.enable_padding(pad_id=config.get("pad_token_id", 0))
        self.words = nn.Embedding(config["vocab_size"], self.width)
        self.places = nn.Embedding(config["max_position_embeddings"], self.width)
        self.kinds = nn.Embedding(config["type_vocab_size"], self.width)
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
            self.load_state_dict(renamed)
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
        """[T, n] -> [T, D], not normalised."""
        return self.pool(self.states(self.embed(tokens), tokens), tokens)


class BertLayer(nn.Module):
    """A post-norm transformer block. nn.TransformerEncoderLayer's fast path is slow by far in bf16
    on the CPU.
    """

    def __init__(self, width: int, heads: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """[T, n, W] -> the same; keys where `seen` [T, 1, 1, n] is False are not."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if x.requires_grad:  # of short texts; the fused form is slow backward on the CPU
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
    """transformers' names of BERT's tensors -> those of BertTower."""
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
    """CLIP's text transformer as open_clip has it: causal, read out at the end of the text.

    Args:
        model: of open_clip.
        encode: its tokenizer.

    Raises:
        UserError: for a text encoder of another form.
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
        # 0 is "!" inside a text
        return tokens[:, : int(tokens.argmax(1).max()) + 1] if len(tokens) else tokens[:, :1]

    def special(self, tokens: Tensor) -> Tensor:
        """See TextTower: the two largest numbers, and all after the largest."""
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
        """[T, n] -> [T, D], not normalised."""
        return self.pool(self.states(self.embed(tokens), tokens), tokens)
