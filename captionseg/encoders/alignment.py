"""Linear alignment of frozen image features with frozen text embeddings (LiT, Zhai et al. 2022).

A matrix maps image features into the text encoder's space. It is trained on the captions of the
training split. There, similarities to an image's own caption are too high, and those to concepts
that the caption leaves out, which curation looks for, are too low. So the embeddings of training
images are cross-fitted: each comes from a matrix that was not trained on its caption.
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
    """The map x -> normalise(((x - mean) / scale) @ weight)."""

    mean: Float32[np.ndarray, " feature"]
    scale: Float32[np.ndarray, " feature"]
    weight: Float32[np.ndarray, "feature embedding"]

    def __call__(
        self, features: Float[np.ndarray, "*batch feature"]
    ) -> Float32[np.ndarray, "*batch embedding"]:
        """Map features to the joint space, L2-normalised."""
        return normalise(((features.astype(np.float32) - self.mean) / self.scale) @ self.weight)


@dataclass(frozen=True)
class AlignmentParams:
    """Fields of `index.alignment`.

    Attributes:
        folds: number of cross-fitting folds; 1 is no cross-fitting.
        epochs: number of epochs.
        batch: batch size.
        learning_rate: peak learning rate of AdamW with a one-cycle schedule.
        weight_decay: weight decay of AdamW.
        dropout: dropout of image features in training.
        temperature: temperature of the image-text softmax.
        target_temperature: temperature of the text-text softmax, which gives soft targets: equal
            captions share the probability.
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
    """Train an alignment by InfoNCE in both directions with soft targets.

    Args:
        features: frozen image features.
        text: L2-normalised caption embeddings.
        params: parameters of the training.
        seed: seed of batches and dropout; the same seed gives the same matrix.
    """
    mean, scale = features.mean(0), features.std(0) + 1e-6
    x = torch.from_numpy(((features - mean) / scale).astype(np.float32))
    t = torch.from_numpy(text.astype(np.float32))
    generator = torch.Generator().manual_seed(seed)
    # small initial weights, because MiniLM's embeddings have a large common mean
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
    """InfoNCE of image and text embeddings, in which similar captions share the target."""
    logits = F.normalize(image, dim=1) @ text.T / params.temperature
    target = (text @ text.T / params.target_temperature).softmax(1)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def assign_folds(count: int, folds: int, *, seed: int) -> Int32[np.ndarray, " {count}"]:
    """Assign `count` rows to folds at random; the sizes of folds differ by at most one."""
    return np.random.default_rng([seed, 5]).permutation(np.arange(count) % folds).astype(np.int32)


def cross_fit(
    features: Float[np.ndarray, "image feature"],
    text: Float[np.ndarray, "image embedding"],
    fold: Int[np.ndarray, " image"],
    params: AlignmentParams,
    *,
    seed: int,
) -> Float32[np.ndarray, "image embedding"]:
    """Embed images, each by the alignment that was trained on the other folds.

    Args:
        features: see `fit`.
        text: see `fit`.
        fold: fold of each image, see `assign_folds`.
        params: see `fit`.
        seed: see `fit`.
    """
    out = np.zeros((len(features), text.shape[1]), np.float32)
    for k in tqdm(np.unique(fold), desc="cross-fitting", unit="fold"):
        inside = fold == k
        train = ~inside if (~inside).any() else inside
        out[inside] = fit(features[train], text[train], params, seed=seed)(features[inside])
    return out
