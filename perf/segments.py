"""Embeddings of segments, pooled before they are projected, against the naive order; and each step
that makes segments.

    python -m perf.segments [--data data] [--images 100] [--rounds 3] [--device cpu]

The reference merges all blocks of both towers on every patch, puts the [CLS] of both beside each,
projects, and pools last: the order in which USE is written down. Both have the same weights, of the
published sizes (24 and 6 blocks of 1024 channels, 40 x 40 patches, 11 segments). The steps are
timed on pictures of a run (`dvc repro curate` is enough), of N and of 2 N: that they take twice as
long says that cost is linear.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from captionseg.datasets.pair_tables import count_pairs
from captionseg.datasets.random_access import Pictures
from captionseg.dense_maps import open_dense
from captionseg.encoders.text_space import TextSpace, load_encoder
from captionseg.modeling.layers.merging import SegmentEncoder, pool_weights
from captionseg.params import Params
from captionseg.runtime.device import detect
from captionseg.segment_text.stage_inputs import (
    Inputs,
    find_phrases,
    list_images,
    read_views,
    sample_cells,
)
from perf.clock import compare

BLOCKS, WIDTH, GRID, SEGMENTS, OUT = (24, 6), 1024, 40, 11, 768


def naive(
    net: SegmentEncoder, towers: list[list[Tensor]], masks: Tensor, cls: list[Tensor]
) -> Tensor:
    """The reference: [B, S, D]."""
    parts = []
    for lln, maps, whole in zip(net.towers, towers, cls, strict=True):
        blocks = zip(lln.norms, lln.linears, lln.scale, maps, strict=True)  # type: ignore[arg-type]
        merged = sum(scale * linear(norm(x)) for norm, linear, scale, x in blocks)
        parts += [merged, whole[:, None, None].expand(-1, GRID, GRID, -1)]
    patches = net.head(torch.cat(parts, 3)).flatten(1, 2)
    return pool_weights(masks).flatten(2) @ patches


def embedding(rounds: int, device: str) -> float:
    """Print both orders; how many times as fast ours is."""
    runtime = detect(device)
    torch.manual_seed(0)
    net = (
        SegmentEncoder([[WIDTH] * n for n in BLOCKS], OUT, cls=[WIDTH] * len(BLOCKS))
        .to(runtime.device)
        .eval()
    )
    towers = [
        [torch.randn(1, GRID, GRID, WIDTH, device=runtime.device) for _ in range(n)] for n in BLOCKS
    ]
    cls = [torch.randn(1, WIDTH, device=runtime.device) for _ in BLOCKS]
    masks = (torch.rand(1, SEGMENTS, GRID, GRID, device=runtime.device) < 0.2).float()
    forms = {
        "captionseg": lambda: net(towers, masks, cls),
        "naive": lambda: naive(net, towers, masks, cls),
    }
    median, found = compare(forms, rounds, runtime)
    difference = (found["captionseg"] - found["naive"]).abs().max()
    print(
        f"embeddings of {SEGMENTS} segments, {sum(BLOCKS)} blocks, {runtime.device}; "
        f"largest difference {difference:.1e}"
    )
    for name in forms:
        print(f"{name:12} {median[name]:7.3f} s an image")
    return median["naive"] / median["captionseg"]


class CallTimer:
    """An object of which the calls of one method are timed."""

    def __init__(self, inner: Any, name: str, seconds: dict[str, float], step: str) -> None:
        self.inner, self.name, self.seconds, self.step = inner, name, seconds, step

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if name != self.name:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            with clock(self.seconds, self.step):
                return found(*args, **kwargs)

        return call


@contextmanager
def clock(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Seconds of what is inside are added to those of a step."""
    start = time.perf_counter()
    yield
    seconds[step] += time.perf_counter() - start


def time_steps(data: Path, images: int) -> dict[str, float]:
    """Seconds of each step of segment_text over so many images."""
    params, features = Params(Path("params.yaml")).segment_text, data / "features"
    inputs = Inputs(
        data / "pairs", data / "captions", data / "supervision", features, data / "regions"
    )
    counts = count_pairs(inputs.pairs)
    encoder = functools.cache(functools.partial(load_encoder, features / "encoder"))
    maps = open_dense(
        features,
        counts,
        pictures=functools.partial(Pictures.of_pairs, inputs.pairs),
        encoder=encoder,
    )
    todo = [
        (shard, row) for shard, images in list_images(inputs, params) for row in images.to_pylist()
    ]
    seconds: dict[str, float] = defaultdict(float)
    cells = sample_cells(maps, sum(counts.values()), params.cells, seed=0)
    maker = params.build(TextSpace.load(features / "encoder"), cells)
    maker = replace(
        maker,
        grounder=CallTimer(maker.grounder, "boxes", seconds, "boxes"),
        segmenter=CallTimer(maker.segmenter, "masks", seconds, "masks"),
    )
    rows = [row for _, row in todo[:images]]
    captions = [row["captions"] for row in rows]
    find_phrases(rows[:1], captions[:1], params)  # whatever is loaded with the first call
    with clock(seconds, "phrases"):
        phrases = dict(
            zip((row["uid"] for row in rows), find_phrases(rows, captions, params), strict=True)
        )
    with clock(seconds, "prepare"):
        maker.grounder.prepare(
            sorted({p.text for row in phrases.values() for caption in row for p in caption.phrases})
        )
    shards = dict.fromkeys(shard for shard, _ in todo)
    every = (view for shard in shards for view in read_views(inputs, shard, encoder))
    with threadpool_limits(1):
        for view in islice((view for view in every if view.uid in phrases), images):
            with clock(seconds, "all of an image"):
                maker.make_segments(view, phrases[view.uid])
    seconds["merge, RLE"] = seconds.pop("all of an image") - seconds["boxes"] - seconds["masks"]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.segments", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if (arguments.data / "supervision").is_dir():
        once, twice = (time_steps(arguments.data, n * arguments.images) for n in (1, 2))
        for step, seconds in twice.items():
            print(
                f"{step:12} {2 * arguments.images / seconds:9.0f} images/s, "
                f"{seconds / once[step]:.2f} times as long for twice as many"
            )
        whole = [sum(count.values()) for count in (once, twice)]
        print(
            f"{'together':12} {2 * arguments.images / whole[1]:9.0f} images/s, "
            f"{whole[1] / whole[0]:.2f} times as long"
        )
    else:
        print(f"{arguments.data}: no finished `dvc repro curate`, so no steps are timed")
    print(f"ratio {embedding(arguments.rounds, arguments.device):.2f}")


if __name__ == "__main__":
    main()
