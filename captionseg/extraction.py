"""Computes frozen features of pictures, shard by shard, and pools them over regions at once: a
picture's dense features take more room than all the rest.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from captionseg.datasets.ids import count_shard_rows
from captionseg.datasets.pair_tables import read_shard
from captionseg.datasets.shard_images import read_images
from captionseg.dense_maps import make_batches, name_lent
from captionseg.encoders.encoder import Encoder, Features
from captionseg.feature_reuse import Stored
from captionseg.runtime.allocator import keep_freed_memory
from captionseg.runtime.fan_out import count_cores, spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.runtime.threads import make_ahead, work_behind
from captionseg.segmenters.pooling import pool_regions
from captionseg.storage.folders import find_incomplete
from captionseg.storage.packed import SUFFIX, PackedArray, open_packed
from captionseg.storage.writing import open_array, remove_parts

pc: Any = compute  # its functions are made when it is imported
THREADS = 4  # of a process on the CPU: what an encoder of small pictures makes good use of
KEPT = Stored(dense=True)


def extract(
    pairs: pa.Table,
    folder: Path,
    encoder: Callable[[], Encoder],
    features: Path,
    *,
    stored: Stored = KEPT,
    device: str = "cpu",
    runtime: RuntimeParams = HERE,
) -> None:
    """Write the features of every unfinished shard, see `shard_features`.

    Args:
        pairs: successful rows.
        folder: folder of their shards.
        encoder: called once in each worker process.
        features: folder for the files.
        stored: what is stored of them.
        device: configured device of the encoder.
        runtime: how shards are distributed. The number of threads affects an encoder's speed, not
            its results.
    """
    images = count_shard_rows(pairs)
    missing = [
        shard
        for shard, count in images.items()
        if find_incomplete(stored.files_of(features, shard, count))
    ]
    work = functools.partial(shard_features, folder, features, encoder=encoder, stored=stored)
    threads = max(1, count_cores() // runtime.workers) if runtime.workers else THREADS
    with tqdm(total=sum(images[shard] for shard in missing), desc="features", unit="img") as bar:
        for count in spread(
            work,
            missing,
            runtime,
            device=device,
            threads=threads,
            called=lambda shard: f"index: shard {shard}",
        ):
            bar.update(count)
    remove_parts(features)


def shard_features(
    folder: Path, features: Path, shard: str, *, encoder: Callable[[], Encoder], stored: Stored
) -> int:
    """Write the features of one shard; return its number of images.

    Rows are its images, float16 except for `cells`: pooled, packed descriptor, what `stored` names,
    and regions, rows of which are all regions of all images.
    """
    count = pc.sum(pc.equal(read_shard(folder, shard)["status"], "success")).as_py()
    images = (image for _, image in read_images(folder, shard))
    append: dict[str, Callable[[np.ndarray], None]] = {}
    batches, done = make_ahead(make_batches(images, encoder().batch)), 0
    files_of = stored.files_of(features, shard, count)
    sizes = {path.parent.name: (path, rows) for path, rows in files_of.items()}
    if stored.lent:
        sizes["dense"] = name_lent(stored.lent, shard), count

    def write_rows(found: Features) -> None:
        nonlocal done
        for name, rows in reduce_features(found, shard, done, stored).items():
            if name not in append:
                path, total = sizes[name]
                write = open_packed if path.suffix == SUFFIX else open_array
                shape = (total, *rows.shape[1:])
                append[name] = files.enter_context(write(path, shape, rows.dtype))
            append[name](rows)
        done += len(found.pooled)

    with (
        contextlib.ExitStack() as files,
        # small products: more threads than one only wait for one another
        threadpool_limits(1, user_api="blas"),
        # the network runs in this thread, whose memory is kept
        keep_freed_memory(),
        work_behind(write_rows) as write_behind,
    ):
        for batch in batches:
            write_behind(encoder().features(batch))
    return count


def reduce_features(
    found: Features, shard: str, first: int, stored: Stored
) -> dict[str, np.ndarray]:
    """Return the rows of some images that are stored, by name.

    Args:
        found: features of the images.
        shard: shard of the images.
        first: place of the first image in it.
        stored: what is stored.
    """
    dense = found.dense.astype(np.float16)
    rows = {name: getattr(found, name).astype(np.float16) for name in ("pooled", "descriptor")}
    if stored.dense or stored.lent:
        rows["dense"] = dense
    if stored.cells:
        rows["cells"] = dense.mean((1, 2), dtype=np.float32)
    if stored.regions is not None:
        labels = PackedArray(stored.regions / "labels" / f"labels_{shard}{SUFFIX}")
        of_images = labels[np.arange(first, first + len(dense))]
        pooled = [
            pool_regions(maps, ids, int(ids.max()) + 1)
            for maps, ids in zip(dense, of_images, strict=True)
        ]
        rows["regions"] = np.concatenate(pooled).astype(np.float16)
    return rows
