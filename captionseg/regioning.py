"""Regions of all pictures of a corpus, shard by shard, in parallel.

For shard NNNNN: labels/labels_NNNNN.arrow (packed uint8 [n, side, side]) and count/count_NNNNN.npy
(uint8 [n]), rows in the order of the shard's successful pairs. A shard is finished if both have the
right number of rows.
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
from captionseg.storage.folders import find_incomplete
from captionseg.storage.packed import SUFFIX, write_packed
from captionseg.storage.reading import read_array
from captionseg.storage.writing import remove_parts, write_array

FILES = {"labels": SUFFIX, "count": ".npy"}


def write_regions(
    pairs: Path, out: Path, *, maker: RegionMaker, runtime: RuntimeParams = HERE
) -> dict[str, float]:
    """Make the missing regions of a corpus.

    Args:
        pairs: shards of pairs.
        out: folder for the files named above; finished shards are kept.
        maker: makes the regions.
        runtime: how shards are distributed.

    Returns:
        images, and regions per image.
    """
    images = Counter(read_pairs(pairs)["shard"].to_pylist())
    expected = {
        s: {out / name / f"{name}_{s}{suffix}": count for name, suffix in FILES.items()}
        for s, count in images.items()
    }
    missing = [s for s, files in expected.items() if find_incomplete(files)]
    work = functools.partial(shard_regions, pairs, out, maker)
    with tqdm(total=len(missing), desc="regions", unit="shard") as bar:
        device = getattr(maker, "device", "cpu")
        for _ in spread(work, missing, runtime, device=device, called="regions: shard {}".format):
            bar.update()
    remove_parts(out)
    if reason := next(filter(None, map(find_incomplete, expected.values())), ""):
        raise UserError(f"regions: {reason}; no output was written, run it again")
    counts = np.concatenate([read_array(out / "count" / f"count_{s}.npy") for s in expected])
    return {"images": float(len(counts)), "per_image": float(counts.mean()) if len(counts) else 0.0}


def shard_regions(pairs: Path, out: Path, maker: RegionMaker, shard: str) -> None:
    """Write the regions of one shard; see `write_regions`."""
    labels = np.stack([maker.regions(image) for _, image in read_images(pairs, shard)])
    write_packed(labels, out / "labels" / f"labels_{shard}{SUFFIX}")
    write_array((labels.max((1, 2)) + 1).astype(np.uint8), out / "count" / f"count_{shard}.npy")
