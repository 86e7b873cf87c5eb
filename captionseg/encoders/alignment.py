"""Linear alignment of frozen image features with frozen text embeddings (LiT, Zhai et al. 2022).

A matrix maps image features into the text encoder's space. It is trained on the captions of the
training split. There, similarities to an image's own caption are too high, and those to concepts
that the caption leaves out, which curation looks for, are too low. So the embeddings of training
images are cross-fitted: each comes from a matrix that was not trained on its caption.

Features and texts are read batch by batch, so they need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int32
from torch.nn import functional as F
from tqdm import tqdm

from captionseg.arrays import Rows
from captionseg.encoders.encoder import normalise
from captionseg.runtime.fan_out import count_cores
from captionseg.typed import AboveZero, Count, ShareBelowOne, ZeroOrMore

SPAN = 64  # blocks of rows that are summed in float32


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
    features: Rows | Float[np.ndarray, "image feature"],
    text: Rows | Float[np.ndarray, "image embedding"],
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
    x, t = Rows.of(features), Rows.of(text)
    mean, deviation = measure_spread(x)
    scale = deviation + 1e-6
    generator = torch.Generator().manual_seed(seed)
    # small initial weights, because MiniLM's embeddings have a large common mean
    weight = (0.01 * torch.randn(x.width, t.width, generator=generator)).requires_grad_()
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
            image = torch.from_numpy((x[rows.numpy()] - mean) / scale)
            # four times as fast as bernoulli
            noise = (torch.rand(len(rows), x.width, generator=generator) < keep) / keep
            caption = torch.from_numpy(t[rows.numpy()])
            loss = soft_contrastive((image * noise) @ weight, caption, params)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return Alignment(mean, scale, weight.detach().numpy())


def measure_spread(
    features: Rows,
) -> tuple[Float32[np.ndarray, " feature"], Float32[np.ndarray, " feature"]]:
    """Return the mean and the standard deviation of each feature."""
    count = np.float32(len(features))
    mean = sum_rows(features, lambda block: block) / count
    squares = sum_rows(features, lambda block: (block - mean) ** 2)
    return mean, np.sqrt(squares / count)


def sum_rows(
    features: Rows, change: Callable[[np.ndarray], np.ndarray]
) -> Float32[np.ndarray, " feature"]:
    """Return the sum over all rows of `change(rows)`.

    Rows are added in float32, as by `sum`, up to SPAN blocks of them, and these sums in float64:
    after some millions of rows a sum in float32 no longer grows.
    """
    total, span = np.zeros(features.width), np.zeros((1, features.width), np.float32)
    for number, block in enumerate(features.blocks(), start=1):
        span = np.concatenate([span, change(block)]).sum(0, keepdims=True)
        if number % SPAN == 0:
            total += span[0]
            span[:] = 0
    return (total + span[0]).astype(np.float32)


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
    features: Rows | Float[np.ndarray, "image feature"],
    text: Rows | Float[np.ndarray, "image embedding"],
    fold: Int[np.ndarray, " image"],
    params: AlignmentParams,
    *,
    seed: int,
) -> dict[int, Alignment]:
    """Train an alignment for each fold, on the other folds.

    Args:
        features: see `fit`.
        text: see `fit`.
        fold: fold of each image, see `assign_folds`.
        params: see `fit`.
        seed: see `fit`.
    """
    x, t, folds = Rows.of(features), Rows.of(text), np.unique(fold).tolist()

    def fit_without(k: int) -> Alignment:
        others = np.flatnonzero(fold != k)
        train = others if len(others) else np.flatnonzero(fold == k)
        return fit(x.select(train), t.select(train), params, seed=seed)

    # half of a step uses one core only, so that folds at once take less time than one by one
    with ThreadPoolExecutor(count_cores()) as pool:
        fits = tqdm(pool.map(fit_without, folds), "cross-fitting", len(folds), unit="fold")
        return dict(zip(folds, fits, strict=True))


def embed_by_fold(
    features: Float[np.ndarray, "image feature"],
    fold: Int[np.ndarray, " image"],
    fitted: Mapping[int, Alignment],
) -> Float32[np.ndarray, "image embedding"]:
    """Embed images, each by the alignment of its fold."""
    width = next(iter(fitted.values())).weight.shape[1]
    out = np.zeros((len(features), width), np.float32)
    for k in np.unique(fold):
        out[fold == k] = fitted[int(k)](features[fold == k])
    return out
