"""pairs -> segments with all texts that name them, shard by shard. The only part of segment_text that knows shards.

NNNNN.parquet of schema SEGMENTS, and NNNNN_stats.json with what was lost on the way, written last: a shard that has
it is finished.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from captionseg.arrays import ShardedArray
from captionseg.datasets.shards import read_images, read_pairs
from captionseg.grounding import JointSpace
from captionseg.records import SEGMENTS, UserError
from captionseg.segment_text import SegmentTextParams
from captionseg.segment_text.maker import View
from captionseg.segment_text.phrases import Phrase, phrases_of, read_concepts
from captionseg.storage import read_tables, write_json, write_table
from captionseg.text.nouns import noun_chunks
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
    phrases, shards = asked(pairs, params, supervision)
    maker = params.build(space, sample_cells(features, params.cells, seed=seed))
    maker.grounder.prepare(sorted({p.text for row in phrases.values() for p in row}))
    # products here are small: more threads than one only wait for one another (5 to 45 ms an image on busy cores)
    with threadpool_limits(1), tqdm(total=len(phrases), desc="segment_text", unit="img") as bar:
        for shard, images in shards.items():
            if (segments / f"{shard}_stats.json").exists():
                bar.update(images)
                continue
            views = (view for view in read_views(pairs, shard, features, regions) if view.uid in phrases)
            rows, count = [], Counter[str]()
            for view in views:
                more, lost = maker.segments(view, phrases[view.uid])
                rows += more
                count.update(lost)
                bar.update()
            write_table(pa.Table.from_pylist(rows, schema=SEGMENTS), segments / f"{shard}.parquet")
            write_json(dict(count), segments / f"{shard}_stats.json")
    return summary(segments)


def asked(pairs: Path, params: SegmentTextParams, supervision: Path) -> tuple[dict[str, list[Phrase]], Counter[str]]:
    """uid -> phrases of every image to be done, and shard -> how many of them it holds."""
    concepts = read_concepts(supervision, params.curation, params.concepts)
    columns = read_pairs(pairs).select(["uid", "caption", "split", "shard"]).to_pylist()
    used = [row for row in columns if row["split"] == params.split and row["uid"] in concepts]
    if not used:
        raise UserError(
            f"segment_text: no kept row of {params.curation!r} in split {params.split!r} of {pairs}; check "
            "segment_text.split and segment_text.curation"
        )
    uids = [row["uid"] for row in used]
    captions, archives = [row["caption"] for row in used], [concepts[uid] for uid in uids]
    stop = default_stop() if params.drop_stop_nouns else ()
    found = phrases_of(captions, archives, chunks=noun_chunks, stop=stop)
    return dict(zip(uids, found, strict=True)), Counter(row["shard"] for row in used)


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
    count: Counter[str] = Counter()
    for file in sorted(segments.glob("*_stats.json")):
        count.update(json.loads(file.read_text()))
    table = read_tables(segments, columns=["full_image", "texts"])
    texts = sum(len(row) for row in table["texts"].to_pylist())
    return {
        "per_image": len(table) / max(1, count["images"]),
        "texts_per_segment": texts / max(1, len(table)),
        "full_image_share": sum(table["full_image"].to_pylist()) / max(1, len(table)),
        **{name: float(value) for name, value in sorted(count.items())},
    }
