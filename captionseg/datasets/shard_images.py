"""Images of a shard, read from its tar; nothing is unpacked to disk."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import numpy as np

from captionseg import images
from captionseg.datasets.pair_tables import advise_download, read_shard
from captionseg.records import UserError, one_line


def read_images(
    pairs: Path, shard: str, uids: Collection[str] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (uid, uint8 [H, W, 3]) of the successful rows of a shard, in row order.

    Args:
        pairs: folder of shards.
        shard: which one.
        uids: only these are decoded; None for all.

    Raises:
        UserError: naming shard and key of an image that is missing, changed or cannot be decoded.
    """
    table = read_shard(pairs, shard)
    path, rows = (
        pairs / f"{shard}.tar",
        table.select(["uid", "key", "status", "sha256"]).to_pylist(),
    )
    with open_shard(path) as (tar, member):
        for row in rows:
            if row["status"] != "success" or (uids is not None and row["uid"] not in uids):
                continue
            stream = tar.extractfile(member(row["key"]))
            assert stream is not None
            data = stream.read()
            check_digest(data, row["sha256"], path, row["key"])
            yield row["uid"], decode(data, path, row["key"])


def check_digest(data: bytes, sha256: str | None, path: Path, key: str) -> None:
    """Compare an image of the tar at `path` with the digest in the shard's table.

    Raises:
        UserError: if they differ.
    """
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(
            f"{path}: {key}.jpg is not the image that was downloaded (sha256 differs); "
            f"{advise_download(path.stem)}"
        )


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[tuple[tarfile.TarFile, Callable[[str], tarfile.TarInfo]]]:
    """Open the tar of a shard; returns it, and a function from the key of a sample to its image.

    Raises:
        UserError: if the tar cannot be read, now or later, or lacks an image.
    """

    def member(key: str) -> tarfile.TarInfo:
        if info := members.get(f"{key}.jpg"):
            return info
        raise UserError(f"{path}: {key}.jpg is missing; {advise_download(path.stem)}")

    try:
        with tarfile.open(path) as tar:
            members = {m.name: m for m in tar.getmembers() if m.isfile()}
            yield tar, member
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read ({one_line(error)}); {advise_download(path.stem)}"
        ) from None


def decode(data: bytes, path: Path, key: str) -> np.ndarray:
    """Decode an image of the tar at `path`: uint8 [H, W, 3].

    Raises:
        UserError: if it cannot be decoded.
    """
    try:
        return images.read_pixels(data, name=f"{path}: {key}.jpg")
    except images.Unreadable as error:
        raise UserError(f"{path}: {key}.jpg does not decode: {error}") from None
