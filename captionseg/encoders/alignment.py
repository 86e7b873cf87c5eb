"""Linear alignment of frozen image features with frozen text embeddings (LiT, Zhai et al. 2022),
cross-fitted.

One matrix maps image features into the text encoder's space. It is trained on the captions of the
training split, so its similarity to an image's own caption is inflated, and deflated for every
concept that the caption leaves out: exactly those that curation looks for. Hence `cross_fit`: the
embedding of each training image comes from a matrix that never saw its caption.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32
from torch.nn import functional as F
from tqdm import tqdm

from captionseg.encoders.encoder import normalise
from captionseg.typed import AboveZero, Count, ShareBelowOne, ZeroOrMore


@dataclass(frozen=True)
class Alignment:
    """x -> normalise(((x - mean) / scale) @ weight)."""

    mean: Float32[np.ndarray, " feature"]
    scale: Float32[np.ndarray, " feature"]
    weight: Float32[np.ndarray, "feature embedding"]

    def __call__(
        self, features: Float[np.ndarray, "*batch feature"]
    ) -> Float32[np.ndarray, "*batch embedding"]:
        """Features in the joint space, L2-normalised."""
        return normalise(((features.astype(np.float32) - self.mean) / self.scale) @ self.weight)


@dataclass(frozen=True)
class AlignmentParams:
    """Fields of `index.alignment`.

    Attributes:
        folds: cross-fitting folds of the training split; 1 scores training images by a matrix that
            saw their captions.
        epochs, batch, learning_rate, weight_decay, dropout: of AdamW with a one-cycle schedule.
        temperature: of the image-text softmax.
        target_temperature: of the text-text softmax that softens the targets: equal captions share
            the mass.
    """

    folds: Count = 5
    epochs: Count = 12
    batch: Count = 256
    learning_rate: AboveZero = 1e-3
    weight_decay: ZeroOrMore = 0.1
    dropout: ShareBelowOne = 0.3
    temperature: AboveZero = 0.05
    target_temperature: AboveZero = 0.05


def fit(
    features: Float[np.ndarray, "image feature"],
    text: Float[np.ndarray, "image embedding"],
    params: AlignmentParams,
    *,
    seed: int,
) -> Alignment:
    """Train one alignment by InfoNCE both ways with soft targets.

    Args:
        features: frozen image features.
        text: L2-normalised caption embeddings.
        params: optimisation.
        seed: of batches and dropout; the same seed gives the same matrix.
    """
    mean, scale = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy(((features - mean) / scale).astype(np.float32))
    t = torch.from_numpy(text.astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    # MiniLM embeddings share a large mean; starting near zero lets every direction be learnt from
    # the pairs.
    weight = (0.01 * torch.randn(x.shape[1], t.shape[1], generator=generator)).requires_grad_()
    steps = max(1, len(x) // min(params.batch, len(x)))
    optimiser = torch.optim.AdamW(
        [weight], lr=params.learning_rate, weight_decay=params.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, params.learning_rate, total_steps=params.epochs * steps
    )
    keep = 1.0 - params.dropout
    for _ in range(params.epochs):
        order = torch.randperm(len(x), generator=generator)
        for rows in order[: steps * min(params.batch, len(x))].chunk(steps):
            # four times as fast as bernoulli
            noise = (torch.rand(len(rows), x.shape[1], generator=generator) < keep) / keep
            loss = soft_contrastive((x[rows] * noise) @ weight, t[rows], params)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return Alignment(mean.astype(np.float32), scale.astype(np.float32), weight.detach().numpy())


def soft_contrastive(
    image: Float[torch.Tensor, "batch embedding"],
    text: Float[torch.Tensor, "batch embedding"],
    params: AlignmentParams,
) -> Float[torch.Tensor, ""]:
    """InfoNCE of image and text embeddings; captions that say the same share the target."""
    logits = F.normalize(image, dim=1) @ text.T / params.temperature
    target = (text @ text.T / params.target_temperature).softmax(1)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def assign_folds(count: int, folds: int, *, seed: int) -> Int32[np.ndarray, " {count}"]:
    """Fold numbers, equal in size up to one, in random order."""
    return np.random.default_rng([seed, 5]).permutation(np.arange(count) % folds).astype(np.int32)


def cross_fit(
    features: Float[np.ndarray, "image feature"],
    text: Float[np.ndarray, "image embedding"],
    fold: Int[np.ndarray, " image"],
    params: AlignmentParams,
    *,
    seed: int,
) -> Float32[np.ndarray, "image embedding"]:
    """Embeddings, each by the alignment that was trained on the other folds.

    Args:
        features: as for `fit`.
        text: as for `fit`.
        fold: as `assign_folds` gives them.
        params: optimisation of each.
        seed: of each.
    """
    out = np.zeros((len(features), text.shape[1]), np.float32)
    for k in tqdm(np.unique(fold), desc="cross-fitting", unit="fold"):
        inside = fold == k
        train = ~inside if (~inside).any() else inside
        out[inside] = fit(features[train], text[train], params, seed=seed)(features[inside])
    return out
