"""The features of a shard, from files to files, against squashing and the image tower alone.

    python -m perf.index [--data data] [--shard 00000] [--rounds 3] [--device cpu]

The reference has the pictures in memory, squashes them and runs the frozen network; it keeps
nothing but, as the product does, the memory that a batch has freed. The product reads and checks
them, pools the maps, finds the medians of the descriptor, reduces the dense features, and writes
what is kept in fp16. Both take turns. What stays the same is checked: the files of each round.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captionseg.datasets.shard_images import read_images
from captionseg.dense_maps import make_batches
from captionseg.encoders.reduction import ReducedEncoder, Reduction
from captionseg.extraction import shard_features
from captionseg.feature_reuse import Stored
from captionseg.grids import squash
from captionseg.params import Params
from captionseg.runtime.allocator import keep_freed_memory
from captionseg.runtime.device import Runtime, detect
from perf.clock import compare


def run_tower(encoder: Any, images: list[np.ndarray], runtime: Runtime) -> Tensor:
    """The number of pictures that went through the network."""
    count = torch.zeros(())
    with keep_freed_memory():
        for batch in make_batches(images, encoder.batch):
            pixels = torch.from_numpy(np.stack([squash(image, encoder.size) for image in batch]))
            with runtime.autocast():
                count += len(encoder.image_tower(runtime.to(pixels).permute(0, 3, 1, 2))[0])
    return count


def write_features(data: Path, encoder: Callable[[], Any], shard: str) -> Tensor:
    """A checksum of the files of a shard."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        shard_features(data / "pairs", out, shard, encoder=encoder, stored=Stored())
        return torch.tensor([hash(f.read_bytes()) for f in sorted(out.rglob("*_*.*"))])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.index", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--shard", default="00000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    params = Params().index
    runtime = detect(arguments.device, params.precision)
    frozen: Any = params.lite0_minilm.build(runtime)
    reduction = Reduction.load(arguments.data / "features" / "encoder")
    encoder = ReducedEncoder(frozen, reduction) if reduction else frozen
    images = [image for _, image in read_images(arguments.data / "pairs", arguments.shard)]
    median, found = compare(
        {
            "squash and tower": lambda: run_tower(frozen, images, runtime),
            "captionseg": lambda: write_features(arguments.data, lambda: encoder, arguments.shard),
        },
        arguments.rounds,
        runtime,
    )
    assert torch.equal(
        found["captionseg"], write_features(arguments.data, lambda: encoder, arguments.shard)
    )
    print(f"{len(images)} pictures, {runtime.precision}, {torch.get_num_threads()} threads")
    for name, seconds in median.items():
        print(f"{name:17} {len(images) / seconds:7.1f} images/s")
    print(f"ratio {median['squash and tower'] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
