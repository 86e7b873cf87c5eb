"""Dense features of pictures of the run, stored or embedded again: the one way to read them.

Few recipes read them, so by default the stage index stores none (`index.keep_dense`); what it
stores, it stores for all pictures, as dense/dense_NNNNN.npy (float16 [n, gh, gw, F]). Those of a
small corpus it lends to segment_text (`index.lend_dense`), in a folder that is no output of any
stage, see `captionseg.feature_reuse.find_lent`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from captionseg.arrays import ShardedArray
from captionseg.datasets.random_access import Pictures
from captionseg.datasets.shard_images import read_images
from captionseg.encoders.encoder import Encoder
from captionseg.records import UserError
from captionseg.storage.folders import find_incomplete
from captionseg.storage.reading import read_array


class DenseMaps(Protocol):
    """Dense features of N pictures, float16 [N, gh, gw, F]."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Return rows in the requested order."""
        ...


class EmbeddedMaps:
    """Dense features that are computed when they are read. See DenseMaps.

    Args:
        pictures: pictures of the rows.
        encoder: returns the encoder of the features.
    """

    def __init__(self, pictures: Callable[[], Pictures], encoder: Callable[[], Encoder]) -> None:
        self.pictures, self.encoder = functools.cache(pictures), functools.cache(encoder)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """See DenseMaps."""
        encoder, pictures = self.encoder(), self.pictures()
        batches = make_batches((pictures[int(row)] for row in rows), encoder.batch)
        return np.concatenate([embed(encoder, batch) for batch in batches])


def open_dense(
    features: Path,
    shards: Mapping[str, int],
    *,
    pictures: Callable[[], Pictures],
    encoder: Callable[[], Encoder],
    lent: Path | None = None,
) -> DenseMaps:
    """Return the dense features of all pictures.

    Args:
        features: folder of the index stage.
        shards: number of pictures of each shard, in order.
        pictures: opens the pictures; called if features are not stored.
        encoder: loads the encoder; called if features are not stored.
        lent: folder of features that are lent, if any; it need not have any.

    Raises:
        UserError: if some shards are stored and others are not.
    """
    if has_dense(features):
        return ShardedArray.of_folder(features / "dense", shards)
    files = {name_lent(lent, shard): count for shard, count in shards.items()} if lent else {}
    if files and not find_incomplete(files):
        return ShardedArray([read_array(file) for file in files])
    return EmbeddedMaps(pictures, encoder)


def read_dense(
    features: Path,
    pairs: Path,
    shard: str,
    encoder: Callable[[], Encoder],
    *,
    lent: Path | None = None,
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield uid, image and dense features of the pictures of a shard, in order.

    They are embedded in the same batches as by the stage index, with the same result.

    Args:
        features: folder of the index stage.
        pairs: folder of the shards.
        shard: the shard.
        encoder: loads the encoder; called if features are not stored.
        lent: folder of features that are lent, if any; it need not have any.

    Raises:
        UserError: if stored features are missing, or are of other pictures.
    """
    images, file = read_images(pairs, shard), features / "dense" / f"dense_{shard}.npy"
    if lent and not has_dense(features):
        file = name_lent(lent, shard)
    if has_dense(features) or file.exists():
        stored, row = read_array(file), -1
        for row, (uid, image) in enumerate(images):
            if row < len(stored):
                yield uid, image, stored[row]
        if row + 1 != len(stored):
            raise UserError(
                f"shard {shard}: {row + 1} images, {len(stored)} rows of features; run `dvc repro` "
                "to make them anew"
            )
        return
    for batch in make_batches(images, encoder().batch):
        dense = embed(encoder(), [image for _, image in batch])
        for (uid, image), maps in zip(batch, dense, strict=True):
            yield uid, image, maps


def has_dense(features: Path) -> bool:
    """Return whether the stage index stored dense features."""
    return (features / "dense").is_dir()


def name_lent(lent: Path, shard: str) -> Path:
    """Return the file of a shard's dense features in a folder of those that are lent."""
    return lent / f"dense_{shard}.npy"


def embed(encoder: Encoder, images: list[np.ndarray]) -> np.ndarray:
    """Return dense features of images as they are stored."""
    return encoder.features(images).dense.astype(np.float16)


def make_batches(items: Iterable, size: int) -> Iterable[list]:
    """Yield lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
