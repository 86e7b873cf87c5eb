"""Images of a shard, read from its tar, or where the source has them; nothing is unpacked to
disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from captionseg import images
from captionseg.datasets.pair_tables import advise_download, read_shard
from captionseg.records import UserError, one_line
from captionseg.sources.source import Place

PLACE = ".place"
"""Suffix of the member that stands for an image which stays where the source has it."""


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
    rows = table.select(["uid", "key", "status", "sha256"]).to_pylist()
    with open_shard(pairs / f"{shard}.tar") as opened:
        for row in rows:
            if row["status"] != "success" or (uids is not None and row["uid"] not in uids):
                continue
            place = opened.find(row["key"])
            data = opened.read(place)
            name = name_image(place, opened.path, row["key"])
            check_digest(data, row["sha256"], name, opened.path)
            yield row["uid"], decode(data, name)


class ShardImages:
    """The images of an open shard.

    Args:
        path: of the tar.

    Raises:
        UserError: if the tar cannot be read, or lacks an image.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.explain_errors():
            with tarfile.open(path) as tar:
                members = [m for m in tar.getmembers() if m.isfile()]
            self.spans = {m.name: (m.offset_data, m.size) for m in members}
            self.file, self.descriptor = str(path), os.open(path, os.O_RDONLY)

    def close(self) -> None:
        """Close the file that was read last."""
        os.close(self.descriptor)

    def find(self, key: str) -> Place:
        """The place of the image of a sample.

        Args:
            key: of the sample.
        """
        if span := self.spans.get(f"{key}.jpg"):
            return Place(str(self.path), *span)
        if span := self.spans.get(f"{key}{PLACE}"):
            with self.explain_errors():
                return decode_place(self.read(Place(str(self.path), *span)))
        raise UserError(f"{self.path}: {key}.jpg is missing; {advise_download(self.path.stem)}")

    def read(self, place: Place) -> bytes:
        """The bytes at a place; a file that was read last is still open."""
        if place.file != self.file:
            with explain_absence(place, self.path):
                opened = os.open(place.file, os.O_RDONLY)
            os.close(self.descriptor)
            self.file, self.descriptor = place.file, opened
        with self.explain_errors():
            return os.pread(self.descriptor, place.size, place.start)

    @contextlib.contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Raise errors of the tar as one line."""
        try:
            yield
        except (tarfile.TarError, OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{self.path}: cannot be read ({one_line(error)}); "
                f"{advise_download(self.path.stem)}"
            ) from None


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[ShardImages]:
    """Open the tar of a shard.

    Raises:
        UserError: if it cannot be read.
    """
    opened = ShardImages(path)
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def explain_absence(place: Place, path: Path) -> Iterator[None]:
    """Say what to do if the file of a place cannot be opened.

    Args:
        place: of an image.
        path: of the tar of its shard.

    Raises:
        UserError: with the reason.
    """
    try:
        yield
    except OSError as error:
        problem = f"{place.file}: cannot be read ({error.strerror})"
        if place.file == str(path):
            raise UserError(f"{problem}; run `dvc repro download`") from None
        raise UserError(
            f"{problem}; images of {path} were left there (download.shards.in_place): put it back, "
            f"or {advise_download(path.stem)}"
        ) from None


def encode_place(place: Place) -> bytes:
    """The member of a tar that stands for an image elsewhere."""
    return json.dumps(place._asdict(), sort_keys=True).encode()


def decode_place(data: bytes) -> Place:
    """The place in such a member.

    Raises:
        ValueError, TypeError: if it is none.
    """
    content = json.loads(data)
    return Place(str(content["file"]), int(content["start"]), int(content["size"]))


def name_image(place: Place, path: Path, key: str) -> str:
    """Name an image in messages: where it is, and where that is elsewhere, its shard too.

    Args:
        place: of the image.
        path: of the tar of its shard.
        key: of its sample.
    """
    if place.file == str(path):
        return f"{path}: {key}.jpg"
    return f"{place.file}, byte {place.start} ({path.name}: {key})"


def check_digest(data: bytes, sha256: str | None, name: str, path: Path) -> None:
    """Compare an image with the digest in the table of its shard.

    Args:
        data: of its file.
        sha256: 64 hex digits; None compares nothing.
        name: of the image, see `name_image`.
        path: of the tar of its shard.

    Raises:
        UserError: if they differ.
    """
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(
            f"{name} is not the image that was downloaded (sha256 differs); "
            f"{advise_download(path.stem)}"
        )


def decode(data: bytes, name: str) -> np.ndarray:
    """Decode an image: uint8 [H, W, 3].

    Args:
        data: of its file.
        name: of the image, see `name_image`.

    Raises:
        UserError: if it cannot be decoded.
    """
    try:
        return images.read_pixels(data, name=name)
    except images.Unreadable as error:
        raise UserError(f"{name} does not decode: {error}") from None
