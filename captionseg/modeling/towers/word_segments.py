"""The text segmenter of CoDe (Wu et al. 2024): learnt prompts of nouns (KgCoOp), word masks
(Eq. 3.2-3.3), and highlighted texts (Eq. 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from captionseg.encoders.text_tower import TextTower
from captionseg.modeling.layers.transformer import Block
from captionseg.typed import Count, Finite, Natural, ZeroOrMore

Labels = Literal["own", "string"]


@dataclass(frozen=True)
class WordConfig:
    """Configuration of WordSegments.

    Attributes:
        width: W of the frozen token embeddings; 0 takes it from the data.
        out: D of the joint space; 0 takes it from the data.
        context: number of learnt vectors before a noun; KgCoOp has 4, CoDe's released code 16.
        blocks: number of transformer blocks on the frozen states; the paper has two attention
            layers, the released code two blocks.
        heads: number of attention heads.
        scale: initial w of Eq. 3.2, learnt.
        bias: initial b of Eq. 3.2, learnt.
        labels: targets of words: own is the currently likeliest noun, as in the paper; string is
            found by string matching, as released.
        none_weight: weight of words of other nouns, with labels: string.
        prompt: whether the word prompt of Eq. 3.5 is learnt; otherwise it is zero.
        positions: maximum length in tokens of the word prompt.
    """

    width: Natural = 0
    out: Natural = 0
    context: Count = 4
    blocks: Natural = 2
    heads: Count = 8
    scale: Finite = 10.0
    bias: Finite = 0.0
    labels: Labels = "own"
    none_weight: ZeroOrMore = 0.5
    prompt: bool = True
    positions: Count = 77

    def __post_init__(self) -> None:
        if self.context < 1 or self.blocks < 0 or self.positions < 1:
            raise ValueError("words: context and positions must be at least 1, blocks at least 0")
        if self.width % self.heads:
            raise ValueError(f"words: width {self.width} is no multiple of {self.heads} heads")


class WordSegments(nn.Module):
    """Segments texts for nouns: J nouns per image, each with a sentence of T tokens."""

    def __init__(self, config: WordConfig) -> None:
        super().__init__()
        self.config, width = config, config.width
        self.context = nn.Parameter(0.02 * torch.randn(config.context, width))
        self.blocks = nn.ModuleList(
            Block(width, config.heads, quick=True) for _ in range(config.blocks)
        )
        self.out = nn.Identity() if config.out == width else nn.Linear(width, config.out)
        self.scale, self.bias = (nn.Parameter(torch.tensor(v)) for v in (config.scale, config.bias))
        self.prompt = nn.Parameter(
            torch.zeros(config.positions, width), requires_grad=config.prompt
        )

    @torch.no_grad()
    def start(self, tower: TextTower) -> None:
        """Initialise the context with the embeddings of "a photo of a", padded with "x"."""
        count = self.config.context
        words = "a photo of a" if count == 4 else " ".join(["a photo of", *["x"] * count])
        embedded = tower.embed(tower.tokens([words]).to(self.context.device))[0, 1:-1]
        self.context.copy_(embedded[:count])

    def nouns(self, names: Tensor, tower: TextTower) -> Tensor:
        """Embed nouns with the learnt context before them: [U, D], L2-normalised.

        Args:
            names: [U, n] tokens of the names.
            tower: the frozen text tower.
        """
        embedded, count = tower.embed(names), self.config.context
        filled = torch.cat(
            [embedded[:, :1], self.context.expand(len(names), -1, -1), embedded[:, 1:]], 1
        )
        # The tower only reads which tokens are padding or the end, so any token may represent the
        # context.
        tokens = torch.cat([names[:, :1].expand(-1, 1 + count), names[:, 1:]], 1)
        return F.normalize(tower.pool(tower.states(filled, tokens), tokens).float(), dim=-1)

    def features(self, sentences: Tensor, tower: TextTower) -> Tensor:
        """Return features [B, J, T, D] of words of sentences [B, J, T], L2-normalised.

        Equal sentences are encoded once.
        """
        different, number = sentences.flatten(0, 1).unique(dim=0, return_inverse=True)
        with torch.no_grad():
            states = tower.states(tower.embed(different), different)
        for block in self.blocks:
            states = block(states, different != 0)
        return F.normalize(self.out(states).float(), dim=-1)[number].unflatten(
            0, sentences.shape[:2]
        )

    def probabilities(
        self,
        features: Float[Tensor, "B J T D"],
        nouns: Float[Tensor, "B J D"],
        valid: Bool[Tensor, "B J"],
    ) -> Float[Tensor, "B J J+1 T"]:
        """Return the probabilities that a word belongs to no noun, or to each noun (Eq. 3.2-3.3).

        Args:
            features: L2-normalised features of words.
            nouns: L2-normalised embeddings of nouns.
            valid: False for padding of nouns.
        """
        logits = self.scale * torch.einsum("bjtd,bkd->bjkt", features, nouns) + self.bias
        logits = logits.masked_fill(~valid[:, None, :, None], -torch.inf)
        return torch.cat([torch.zeros_like(logits[:, :, :1]), logits], 2).softmax(2)

    def highlight(self, sentences: Tensor, masks: Tensor, tower: TextTower) -> Tensor:
        """Embed highlighted texts (Eq. 3.5): [B, J, D], L2-normalised.

        Words outside the mask are replaced by the word prompt; begin, end and padding are kept.

        Args:
            sentences: [B, J, T] tokens.
            masks: [B, J, T] word masks in 0..1.
            tower: the frozen text tower.
        """
        tokens = sentences.flatten(0, 1)
        visible = torch.where(tower.special(tokens), 1.0, masks.flatten(0, 1))[..., None]
        embedded = visible * tower.embed(tokens) + (1.0 - visible) * self.prompt[: tokens.shape[1]]
        pooled = tower.pool(tower.states(embedded, tokens), tokens)
        return F.normalize(pooled.float(), dim=-1).unflatten(0, sentences.shape[:2])


def select_own_masks(probabilities: Float[Tensor, "B J J+1 T"]) -> Float[Tensor, "B J T"]:
    """Select the mask of each sentence's own noun."""
    return probabilities[:, :, 1:].diagonal(dim1=1, dim2=2).movedim(-1, 1)


def match_word_targets(
    words: Int[Tensor, "B J T"], concepts: Int[Tensor, "B J"]
) -> Int64[Tensor, "B J T"]:
    """Return the target of each word: 1 + j for the j-th noun, 0 for other nouns, -1 for no noun.

    Args:
        words: concept that each word belongs to, -1 for none.
        concepts: concepts of the nouns.
    """
    same = words[:, :, None] == concepts[:, None, :, None]  # [B, J, J, T]
    number = torch.where(same.any(2), 1 + same.int().argmax(2), 0)
    return torch.where(words >= 0, number, -1)


def word_loss(
    probabilities: Float[Tensor, "B J choice T"], target: Int64[Tensor, "B J T"], none_weight: float
) -> tuple[Float[Tensor, "B J"], Float[Tensor, "B J"]]:
    """Return the summed weighted cross-entropy of words, and the sum of weights.

    Args:
        probabilities: see WordSegments.
        target: target of each word, -1 for words that do not count.
        none_weight: weight of words with target 0.
    """
    chosen = probabilities.gather(2, target.clamp(min=0)[:, :, None])[:, :, 0]
    weight = torch.where(target > 0, 1.0, none_weight) * (target >= 0)
    return -(weight * chosen.clamp(min=1e-8).log()).sum(2), weight.sum(2)
