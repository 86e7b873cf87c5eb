"""Regions of all pictures of a corpus and their pooled features, shard by shard, in parallel.

For shard NNNNN: labels/labels_NNNNN.npy (uint8 [n, side, side]), pooled/pooled_NNNNN.npy (float16
[n, max_regions, F + 7], zeros after the last region) and count/count_NNNNN.npy (uint8 [n]), rows in
the order of the shard's successful pairs. A shard is finished if all three have the right number of
rows.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.shard_images import read_images
from captionseg.records import UserError
from captionseg.runtime.fan_out import spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.segmenters.interfaces import RegionMaker
from captionseg.segmenters.pooling import GEOMETRY, pool_regions
from captionseg.storage.folders import find_incomplete
from captionseg.storage.reading import read_array
from captionseg.storage.writing import remove_parts, write_array


def write_regions(
    pairs: Path, features: Path, out: Path, *, maker: RegionMaker, runtime: RuntimeParams = HERE
) -> dict[str, float]:
    """Make the missing regions of a corpus.

    Args:
        pairs: shards of pairs.
        features: folder with dense/dense_NNNNN.npy, [n, gh, gw, F], for each shard.
        out: folder for the files named above; finished shards are kept.
        maker: makes the regions.
        runtime: how shards are distributed.

    Returns:
        images, and regions per image.

    Raises:
        UserError: if the features do not match the pairs.
    """
    images = Counter(read_pairs(pairs)["shard"].to_pylist())
    expected = {
        s: {out / name / f"{name}_{s}.npy": count for name in ("labels", "pooled", "count")}
        for s, count in images.items()
    }
    missing = [s for s, files in expected.items() if find_incomplete(files)]
    work = functools.partial(shard_regions, pairs, features, out, maker)
    with tqdm(total=len(missing), desc="regions", unit="shard") as bar:
        for _ in spread(work, missing, runtime, called=lambda shard: f"regions: shard {shard}"):
            bar.update()
    remove_parts(out)
    if reason := next(filter(None, map(find_incomplete, expected.values())), ""):
        raise UserError(f"regions: {reason}; no output was written, run it again")
    counts = np.concatenate([read_array(out / "count" / f"count_{s}.npy") for s in expected])
    return {"images": float(len(counts)), "per_image": float(counts.mean()) if len(counts) else 0.0}


def shard_regions(pairs: Path, features: Path, out: Path, maker: RegionMaker, shard: str) -> None:
    """Write the regions of one shard; see `write_regions`."""
    dense = features / "dense" / f"dense_{shard}.npy"
    if not dense.exists():
        raise UserError(
            f"{dense}: no features for shard {shard}; run the stage index on these pairs first"
        )
    maps = read_array(dense)
    labels = np.zeros((len(maps), maker.side, maker.side), np.uint8)
    pooled = np.zeros((len(maps), maker.max_regions, maps.shape[3] + GEOMETRY), np.float16)
    counts = np.zeros(len(maps), np.uint8)
    row = 0
    for row, (_, image) in enumerate(read_images(pairs, shard), start=1):
        if row > len(maps):
            break
        regions = maker.regions(image)
        count = int(regions.max()) + 1
        labels[row - 1], counts[row - 1] = regions, count
        pooled[row - 1, :count] = pool_regions(maps[row - 1], regions, count)
    if row != len(maps):
        raise UserError(
            f"{dense}: has {len(maps)} rows, which do not match shard {shard} of {pairs}; run the "
            "stage index on these pairs again"
        )
    write_array(labels, out / "labels" / f"labels_{shard}.npy")
    write_array(pooled, out / "pooled" / f"pooled_{shard}.npy")
    write_array(counts, out / "count" / f"count_{shard}.npy")
