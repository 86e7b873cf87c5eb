"""Reduces dense features to principal components, so that those of a corpus can be stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits
from torch import Tensor

from captionseg.encoders.encoder import Features
from captionseg.runtime.weights import check_finite
from captionseg.storage.reading import explain_read_errors
from captionseg.storage.writing import write_tensors

if TYPE_CHECKING:  # protocols, which the checks of tests cannot ask an object for
    from captionseg.encoders.encoder import Encoder, ReducibleEncoder
    from captionseg.encoders.text_tower import TextTower

FILE = "reduction.safetensors"


@dataclass(frozen=True)
class Reduction:
    """Reduces the first P of F channels to K principal components; other channels stay unchanged.

    Attributes:
        mean: mean of the P channels.
        basis: the K components, by decreasing variance.
    """

    mean: Float32[np.ndarray, " channel"]
    basis: Float32[np.ndarray, "channel component"]

    def __call__(
        self, dense: Float[np.ndarray, "*batch feature"]
    ) -> Float32[np.ndarray, "*batch reduced"]:
        """Reduce dense features."""
        # by torch, because BLAS threads of numpy would compete with torch's threads for the cores
        return self.reduce_tensor(torch.from_numpy(np.asarray(dense, np.float32))).numpy()

    def reduce_tensor(
        self, dense: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch reduced"]:
        """Reduce a tensor of dense features, with gradients."""
        return self.join(dense[..., : len(self.mean)], dense[..., len(self.mean) :])

    def join(
        self, wide: Float[Tensor, "*batch channel"], fine: Float[Tensor, "*batch rest"]
    ) -> Float[Tensor, "*batch reduced"]:
        """Reduce the P channels, and put the other channels behind them, with gradients."""
        basis = torch.from_numpy(self.basis).to(wide)
        offset = torch.from_numpy(self.mean @ self.basis).to(wide)
        return torch.cat([wide @ basis - offset, fine], -1)

    @staticmethod
    def fit(cells: Float[np.ndarray, "cell channel"], width: int) -> Reduction:
        """Compute the `width` largest principal components; the largest entry of
        each is positive.
        """
        mean = cells.mean(0, dtype=np.float64)
        centred = (cells - mean).astype(np.float32)
        # with one thread, because the number of threads changes the rounding of sums
        with threadpool_limits(1):
            _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        basis = vectors[:, ::-1][:, : min(width, cells.shape[1])]
        basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
        return Reduction(mean.astype(np.float32), np.ascontiguousarray(basis, np.float32))

    def save(self, folder: Path) -> None:
        """Write the reduction into the folder of an encoder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors({"mean": self.mean, "basis": self.basis}, folder / FILE)

    @staticmethod
    def load(folder: Path) -> Reduction | None:
        """Load the reduction of an encoder's folder; None if it has none.

        Raises:
            UserError: if the file is damaged.
        """
        path = folder / FILE
        if not path.exists():
            return None
        with explain_read_errors(path):
            arrays = load_file(path)
            check_finite({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
            return Reduction(**arrays)


class ReducedEncoder:
    """An encoder with reduced dense features. See Encoder."""

    def __init__(self, encoder: ReducibleEncoder, reduction: Reduction) -> None:
        self.encoder, self.reduction = encoder, reduction
        self.aligned, self.batch, self.fine, self.head = (
            encoder.aligned,
            encoder.batch,
            encoder.fine,
            None,
        )

    def features(self, images: Sequence[UInt8[np.ndarray, "_height _width 3"]]) -> Features:
        """See Encoder."""
        return self.encoder.features(images, self.reduction)

    def text(self, texts: Sequence[str]) -> Float32[np.ndarray, "text embedding"]:
        """See Encoder."""
        return self.encoder.text(texts)

    @property
    def text_tower(self) -> TextTower:
        """See Encoder."""
        return self.encoder.text_tower

    def towers(
        self, pixels: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, "batch feature"], Float[Tensor, "batch rows columns reduced"]]:
        """See Encoder."""
        pooled, dense = self.encoder.towers(pixels)
        return pooled, self.reduction.reduce_tensor(dense)


def fit_reduction(
    encoder: Encoder,
    images: Sequence[UInt8[np.ndarray, "_height _width 3"]],
    width: int,
    *,
    cells: int = 20_000,
) -> Reduction:
    """Fit the reduction of an encoder's dense features on a sample of images.

    The last `encoder.fine` channels are not reduced.

    Args:
        encoder: encoder without a reduction.
        images: images of any size.
        width: K, number of components.
        cells: maximum number of cells to fit on, evenly spaced.
    """
    batches = [images[i : i + encoder.batch] for i in range(0, len(images), encoder.batch)]
    dense = np.concatenate([encoder.features(batch).dense.astype(np.float16) for batch in batches])
    flat = dense.reshape(-1, dense.shape[-1])
    flat = flat[:: max(1, len(flat) // cells), : dense.shape[-1] - encoder.fine].astype(np.float32)
    return Reduction.fit(flat, width)
