"""img2dataset's shards, written and read: NNNNN.tar, NNNNN.parquet with a row per source row,
NNNNN_stats.json last.

stats.json lacks img2dataset's durations and times of day: they would make two equal downloads
differ, and with them everything that depends on their hash.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import logging
import re
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from captionseg import images
from captionseg.datasets.complete import find_flaw
from captionseg.datasets.phash import hash_picture
from captionseg.datasets.tables import (
    advise_download,
    list_shards,
    read_classes,
    read_pairs,
    read_shard,
    read_truth,
)
from captionseg.records import PAIRS, TRUTH, UserError, make_uid, one_line
from captionseg.runtime.fan_out import spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.writing import atomic_path, remove_parts, write_json, write_table

if TYPE_CHECKING:
    from captionseg.sources.source import Sample, Source

__all__ = [
    "decode",
    "decode_mask",
    "encode_mask",
    "list_shards",
    "open_shard",
    "plan",
    "read_classes",
    "read_images",
    "read_pairs",
    "read_shard",
    "read_truth",
    "write_shards",
]

log = logging.getLogger(__name__)
Job = tuple[int, str, range]  # number of the shard, its split, its rows
IN_TAR = [
    "uid",
    "key",
    "url",
    "caption",
    "split",
    "status",
    "error_message",
    "sha256",
    "width",
    "height",
    "original_width",
    "original_height",
]
"""Columns that a sample has in its .json too, as img2dataset's have."""


def plan(splits: dict[str, int], shard_size: int) -> list[Job]:
    """The shards of a source; a shard holds rows of one split."""
    jobs: list[Job] = []
    for split, count in splits.items():
        for start in range(0, count, shard_size):
            jobs.append((len(jobs), split, range(start, min(start + shard_size, count))))
    return jobs


def write_shards(
    source: Source,
    pairs: Path,
    truth: Path,
    *,
    shard_size: int,
    min_success: float,
    seed: int,
    runtime: RuntimeParams = HERE,
) -> dict[str, float]:
    """Make all shards of a source that are not committed yet, several at once.

    Args:
        source: gives the samples.
        pairs: folder; a shard with NNNNN_stats.json is left as it is, unless it is of other rows.
        truth: folder beside it.
        shard_size: source rows a shard.
        min_success: smallest share of rows that may succeed.
        seed: of the samples.
        runtime: what shards are spread over.

    Returns:
        pairs, download_success.

    Raises:
        UserError: when there is no row, or too few succeed; with the counts per reason.
    """
    listing = pairs.with_name("listing")
    source.prepare(listing)
    jobs = plan(source.splits(), shard_size)
    if not jobs:
        raise UserError(
            "download: the source has no rows; check its settings in params.yaml: download"
        )
    pairs.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    stamp = hashlib.sha256(f"{source!r} {seed} {shard_size}".encode()).hexdigest()[:16]
    done = keep_finished(pairs, truth, jobs, stamp)
    todo = [job for job in jobs if f"{job[0]:05d}" not in done]
    write = functools.partial(write_shard, source, pairs=pairs, truth=truth, seed=seed, stamp=stamp)
    with tqdm(total=sum(len(rows) for _, _, rows in todo), desc="download", unit="img") as bar:
        for count in spread(
            write, todo, runtime, called=lambda job: f"download: shard {job[0]:05d}"
        ):
            bar.update(count)
    shutil.rmtree(listing, ignore_errors=True)
    for folder in (pairs, truth):
        remove_parts(folder)
    for number, _, rows in jobs:
        if reason := find_flaw(pairs, truth, f"{number:05d}", rows=len(rows), stamp=stamp):
            raise UserError(
                f"download: shard {number:05d} of {pairs} is not whole ({reason}), so nothing is "
                "put in place; run it again, this shard is then made anew"
            )
    classes = source.classes()
    write_json({"names": list(classes.names), "kinds": list(classes.kinds)}, truth / "classes.json")
    if text := source.licences():
        with atomic_path(pairs / "licences.csv") as part:
            part.write_text(text)
    return summarize(pairs, min_success)


def keep_finished(pairs: Path, truth: Path, jobs: Sequence[Job], stamp: str) -> set[str]:
    """Delete what a killed run left, shards of other rows, and those that are not whole; the names
    of the shards that stay.

    Without it a source whose listing changed between two runs would lose rows and have others
    twice.
    """
    done = set()
    for number, _, rows in jobs:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            name = f"{number:05d}"
            if json.loads((pairs / f"{name}_stats.json").read_text()).get("source") == stamp:
                if reason := find_flaw(pairs, truth, name, rows=len(rows), stamp=stamp):
                    log.warning(
                        "shard %s of %s is not whole (%s): it is made again", name, pairs, reason
                    )
                else:
                    done.add(name)
    for file in [*pairs.iterdir(), *truth.iterdir()]:
        shard = re.fullmatch(r"(\d{5,})(\.tar|\.parquet|_stats\.json)", file.name)
        if (shard and shard[1] not in done) or re.fullmatch(r"\..+\.part", file.name):
            file.unlink()
    return done


def summarize(pairs: Path, min_success: float) -> dict[str, float]:
    """Counts over all committed shards; too few successes are an error."""
    table = pa.concat_tables(
        [pq.read_table(file, schema=PAIRS) for file in sorted(pairs.glob("*.parquet"))]
    )
    status = Counter(table["status"].to_pylist())
    share = status["success"] / max(1, len(table))
    if not status["success"] or share < min_success:
        reasons = Counter(
            f"{s}: {e}"
            for s, e in zip(table["status"].to_pylist(), table["error_message"].to_pylist())
            if s != "success"
        )
        listing = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
        raise UserError(
            f"download: {status['success']} of {len(table)} rows succeeded, below "
            f"download.min_success = {min_success}: {listing}"
        )
    return {"pairs": float(status["success"]), "download_success": share}


def write_shard(
    source: Source, job: Job, *, pairs: Path, truth: Path, seed: int, stamp: str
) -> int:
    """One shard, its stats with the stamp of its source last; returns how many source rows it
    has."""
    number, split, rows = job
    name = f"{number:05d}"
    samples = source.samples(split, rows, seed=seed)
    keys = [f"{name}{i:04d}" for i in range(len(samples))]
    uids = [make_uid(s.url, s.caption) for s in samples]
    with (
        atomic_path(pairs / f"{name}.tar") as part,
        tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        table = tabulate_pairs(samples, keys, uids)
        for row, sample in zip(table.select(IN_TAR).to_pylist(), samples, strict=True):
            if sample.jpeg is not None:
                add(tar, f"{row['key']}.jpg", sample.jpeg)
                add(tar, f"{row['key']}.txt", sample.caption.encode())
                add(tar, f"{row['key']}.json", json.dumps(row, sort_keys=True).encode())
    write_table(table, pairs / f"{name}.parquet")
    known = tabulate_truth(samples, uids)
    write_table(known, truth / f"{name}.parquet")
    count = Counter(s.status for s in samples)
    write_json(
        {
            "count": len(samples),
            "successes": count["success"],
            "failed_to_download": count["failed_to_download"],
            "failed_to_resize": count["failed_to_resize"],
            "status_dict": dict(count),
            "known": len(known),
            "source": stamp,
        },
        pairs / f"{name}_stats.json",
    )
    return len(samples)


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """A member without owner and time, so that equal samples make equal files."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def tabulate_pairs(samples: Sequence[Sample], keys: Sequence[str], uids: Sequence[str]) -> pa.Table:
    """Schema PAIRS."""
    rows = [
        {
            "uid": uid,
            "key": key,
            "url": s.url,
            "caption": s.caption,
            "split": s.split,
            "status": s.status,
            "error_message": s.error,
            "sha256": hashlib.sha256(s.jpeg).hexdigest() if s.jpeg is not None else None,
            "width": s.width or None,
            "height": s.height or None,
            "original_width": s.original_width or s.width or None,
            "original_height": s.original_height or s.height or None,
            "original_sha256": s.original_sha256 or None,
            "phash": hash_picture(s.jpeg) if s.jpeg is not None else None,
            "reason": s.reason,
            "held_out_captions": list(s.held_out),
            "source_row": s.source_row or s.url,
        }
        for uid, key, s in zip(uids, keys, samples, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def tabulate_truth(samples: Sequence[Sample], uids: Sequence[str]) -> pa.Table:
    """Schema TRUTH, rows with a known mask only."""
    rows = [
        {"uid": uid, "concepts": list(s.concepts), "mask": encode_mask(s.mask)}
        for uid, s in zip(uids, samples, strict=True)
        if s.mask is not None and s.jpeg is not None
    ]
    return pa.Table.from_pylist(rows, schema=TRUTH)


def read_images(
    pairs: Path, shard: str, uids: Collection[str] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """(uid, uint8 [H, W, 3]) of the successful rows of a shard, in row order; nothing is unpacked
    to disk.

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
    """Raises UserError for a picture of the tar at `path` that is not the one that its shard's
    table has.
    """
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(
            f"{path}: {key}.jpg is not the image that was downloaded (sha256 differs); "
            f"{advise_download(path.stem)}"
        )


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[tuple[tarfile.TarFile, Callable[[str], tarfile.TarInfo]]]:
    """The tar of a shard, and key of a sample -> its picture there.

    Raises:
        UserError: if the tar cannot be read, there or later, or does not hold the picture.
    """

    def member(key: str) -> tarfile.TarInfo:
        if found := members.get(f"{key}.jpg"):
            return found
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
    """The pixels of a picture out of the tar at `path`."""
    try:
        return images.read_pixels(data, name=f"{path}: {key}.jpg")
    except images.Unreadable as error:
        raise UserError(f"{path}: {key}.jpg does not decode: {error}") from None


def encode_mask(mask: np.ndarray | None) -> bytes:
    """PNG bytes of [H, W] uint8 labels."""
    stream = io.BytesIO()
    Image.fromarray(np.asarray(mask, np.uint8)).save(
        stream, "PNG", optimize=False, compress_level=6
    )
    return stream.getvalue()


def decode_mask(data: bytes) -> np.ndarray:
    """[H, W] uint8 labels of PNG bytes.

    Raises:
        UserError: for anything else.
    """
    try:
        mode, labels = images.read_mask(data)
    except images.Unreadable as error:
        raise UserError(
            f"truth: a mask does not decode: {error}; run `dvc repro --force download`"
        ) from None
    if mode not in ("L", "P", "1"):
        raise UserError(
            f"truth: a mask of mode {mode} where 8-bit class numbers are expected; run `dvc repro "
            "--force download`"
        )
    return labels.astype(np.uint8)
