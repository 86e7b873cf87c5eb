"""Principal components of dense features, so that a corpus of dense maps stays small enough to
keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    from captionseg.encoders.encoder import Encoder
    from captionseg.encoders.text_tower import TextTower

FILE = "reduction.safetensors"


@dataclass(frozen=True)
class Reduction:
    """[.., F] -> [.., K + F - P]: the first P channels by their K largest principal components, the
    rest as they are.

    Attributes:
        mean: of the P channels.
        basis: the components, by decreasing variance.
    """

    mean: Float32[np.ndarray, " channel"]
    basis: Float32[np.ndarray, "channel component"]

    def __call__(
        self, dense: Float[np.ndarray, "*batch feature"]
    ) -> Float32[np.ndarray, "*batch reduced"]:
        """Reduce dense features."""
        # By torch, which the encoder runs on: BLAS threads of numpy's beside those of torch would
        # fight for the cores.
        return self.reduce_tensor(torch.from_numpy(np.asarray(dense, np.float32))).numpy()

    def reduce_tensor(
        self, dense: Float[Tensor, "*batch feature"]
    ) -> Float[Tensor, "*batch reduced"]:
        """The same of a tensor, through which gradients flow."""
        wide, basis = len(self.mean), torch.from_numpy(self.basis).to(dense)
        offset = torch.from_numpy(self.mean @ self.basis).to(dense)
        return torch.cat([dense[..., :wide] @ basis - offset, dense[..., wide:]], -1)

    @staticmethod
    def fit(cells: Float[np.ndarray, "cell channel"], width: int) -> Reduction:
        """The `width` largest principal components of features, each with its largest entry
        positive.
        """
        mean = cells.mean(0, dtype=np.float64)
        centred = (cells - mean).astype(np.float32)
        # sums depend on how many share them, and all dense features on these
        with threadpool_limits(1):
            _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        basis = vectors[:, ::-1][:, : min(width, cells.shape[1])]
        basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
        return Reduction(mean.astype(np.float32), np.ascontiguousarray(basis, np.float32))

    def save(self, folder: Path) -> None:
        """Write it into the folder of an encoder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors({"mean": self.mean, "basis": self.basis}, folder / FILE)

    @staticmethod
    def load(folder: Path) -> Reduction | None:
        """The reduction of an encoder's folder; None where it has none."""
        path = folder / FILE
        if not path.exists():
            return None
        with explain_read_errors(path):
            arrays = load_file(path)
            check_finite({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
            return Reduction(**arrays)


class ReducedEncoder:
    """An encoder whose dense features are reduced. See Encoder."""

    def __init__(self, encoder: Encoder, reduction: Reduction) -> None:
        self.encoder, self.reduction = encoder, reduction
        self.aligned, self.batch, self.fine, self.head = (
            encoder.aligned,
            encoder.batch,
            encoder.fine,
            None,
        )

    def features(self, images: Sequence[UInt8[np.ndarray, "_height _width 3"]]) -> Features:
        """See Encoder."""
        features = self.encoder.features(images)
        return replace(features, dense=self.reduction(features.dense))

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
    """The reduction of an encoder's dense features from a sample of images; channels after
    `-encoder.fine` are kept.

    Args:
        encoder: not reduced yet.
        images: of any sizes.
        width: K.
        cells: at most so many cells, evenly spaced, are looked at.
    """
    batches = [images[i : i + encoder.batch] for i in range(0, len(images), encoder.batch)]
    dense = np.concatenate([encoder.features(batch).dense.astype(np.float16) for batch in batches])
    flat = dense.reshape(-1, dense.shape[-1])
    flat = flat[:: max(1, len(flat) // cells), : dense.shape[-1] - encoder.fine].astype(np.float32)
    return Reduction.fit(flat, width)
