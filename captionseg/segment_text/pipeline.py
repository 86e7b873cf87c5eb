"""pairs -> segments with all texts that name them, shard by shard. The only part of segment_text that knows shards.

NNNNN.parquet of schema SEGMENTS, and NNNNN_stats.json with what was lost on the way, written last: a shard that has
it is finished.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from captionseg.arrays import ShardedArray
from captionseg.datasets.shards import read_images, read_pairs
from captionseg.grounding import JointSpace
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text import SegmentTextParams
from captionseg.segment_text.counts import read_counts
from captionseg.segment_text.maker import View
from captionseg.segment_text.phrases import Phrase, phrases_of, read_concepts
from captionseg.storage import read_tables, write_json, write_table
from captionseg.text.referring import referring
from captionseg.text.vocabulary import default_stop

CELLS_AN_IMAGE = 16


def segment(
    pairs: Path,
    params: SegmentTextParams,
    *,
    space: JointSpace,
    supervision: Path,
    features: Path,
    regions: Path,
    segments: Path,
    seed: int,
) -> dict[str, float]:
    """The whole stage; a killed run goes on from its last finished shard.

    Args:
        pairs: shards of pairs.
        params: section `segment_text`.
        space: of the index; for grounders that are built on it.
        supervision: the curate stage's; `params.curation` says whose concepts are taken.
        features: the index stage's, with dense/dense_NNNNN.npy.
        regions: the regions stage's, with labels/labels_NNNNN.npy.
        segments: out.
        seed: of the cells that phrases are standardised over.

    Returns:
        see `summary`.

    Raises:
        UserError: if there is nothing to make segments of.
    """
    shards = to_do(pairs, params, supervision)
    maker = params.build(space, sample_cells(features, params.cells, seed=seed))
    with tqdm(total=sum(map(len, shards.values())), desc="segment_text", unit="img") as bar:
        for shard, images in shards.items():
            if (segments / f"{shard}_stats.json").exists():
                bar.update(len(images))
                continue
            phrases = asked(images, params)
            maker.grounder.prepare(sorted({p.text for _, row in phrases.values() for p in row}))
            rows, count = [], Counter[str]()
            views = (view for view in read_views(pairs, shard, features, regions) if view.uid in phrases)
            # products are small: more threads than one only wait for one another (5 to 45 ms an image on busy cores)
            with threadpool_limits(1):
                for view in views:
                    caption, wanted = phrases[view.uid]
                    more, lost = maker.segments(view, wanted, caption)
                    rows += more
                    count.update(lost)
                    bar.update()
            write_table(pa.Table.from_pylist(rows, schema=SEGMENTS), segments / f"{shard}.parquet")
            write_json(dict(count), segments / f"{shard}_stats.json")
    return summary(segments)


def to_do(pairs: Path, params: SegmentTextParams, supervision: Path) -> dict[str, list[dict[str, Any]]]:
    """shard -> {uid, caption, concepts} of every image that is to have segments, in the order of the shards."""
    concepts = read_concepts(supervision, params.curation, params.concepts)
    out: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_pairs(pairs).select(["uid", "caption", "split", "shard"]).to_pylist():
        uid = row["uid"]
        if row["split"] == params.split and uid in concepts:
            out[row["shard"]].append({"uid": uid, "caption": row["caption"], "concepts": concepts[uid]})
    if not out:
        raise UserError(
            f"segment_text: no kept row of {params.curation!r} in split {params.split!r} of {pairs}; check "
            "segment_text.split and segment_text.curation"
        )
    return out


def asked(images: Sequence[dict[str, Any]], params: SegmentTextParams) -> dict[str, tuple[str, list[Phrase]]]:
    """uid -> caption and phrases of the images of a shard."""
    captions = [row["caption"] for row in images]
    found = phrases_of(
        captions, [row["concepts"] for row in images], references=referring,
        expressions=params.referring, stop=default_stop() if params.drop_stop_nouns else (),
    )  # fmt: skip
    return dict(zip((row["uid"] for row in images), zip(captions, found, strict=True), strict=True))


def read_views(pairs: Path, shard: str, features: Path, regions: Path) -> Iterator[View]:
    """Images of a shard with their features and regions, which earlier stages left in the same order.

    Raises:
        UserError: if those are of other images.
    """
    dense = np.load(features / "dense" / f"dense_{shard}.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(regions / "labels" / f"labels_{shard}.npy", mmap_mode="r", allow_pickle=False)
    row = -1
    for row, (uid, image) in enumerate(read_images(pairs, shard)):
        if row < min(len(dense), len(labels)):
            yield View(uid, image, dense[row], labels[row])
    if not row + 1 == len(dense) == len(labels):
        raise UserError(
            f"shard {shard}: {row + 1} images, {len(dense)} rows of features, {len(labels)} of regions; run "
            "`dvc repro` to make them anew"
        )


def sample_cells(features: Path, count: int, *, seed: int) -> np.ndarray:
    """[at most count, F] dense features of cells drawn evenly over the images of all shards."""
    maps = ShardedArray.of_folder(features / "dense")
    rng = np.random.default_rng(seed)
    images = np.linspace(0, len(maps), min(len(maps), -(-count // CELLS_AN_IMAGE)), endpoint=False).astype(int)
    cells = maps[images].reshape(len(images), -1, maps.shape[-1])
    drawn = np.stack([rng.permutation(cells.shape[1])[:CELLS_AN_IMAGE] for _ in images])
    return np.take_along_axis(cells, drawn[..., None], axis=1).reshape(-1, maps.shape[-1])[:count]


def summary(segments: Path) -> dict[str, float]:
    """Segments per image, texts per segment and share of whole-image segments; and the counts of all shards."""
    count = read_counts(segments)
    table = read_tables(segments, columns=["full_image", "texts"])
    texts = sum(len(row) for row in table["texts"].to_pylist())
    return {
        "per_image": len(table) / max(1, count["images"]),
        "texts_per_segment": texts / max(1, len(table)),
        "full_image_share": sum(table["full_image"].to_pylist()) / max(1, len(table)),
        **{name: float(value) for name, value in sorted(count.items())},
    }
