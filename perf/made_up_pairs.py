"""A made-up run up to curation: an index with ids and captions, regions, two rules."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from captionseg.records import CONCEPT, IDS, SUPERVISION
from captionseg.storage.writing import write_array, write_json

RULES = {"nouns": 4, "cocu": 8}  # concepts of a pair
SHARD = 10_000
NOUNS = 2000


@dataclass(frozen=True)
class Sizes:
    """How large features are.

    Attributes:
        text: numbers of an embedding of a text.
        region: features of a region.
        regions: regions of a picture.
    """

    text: int = 4
    region: int = 4
    regions: int = 2


TINY = Sizes()


def write_run(folder: Path, pairs: int, sizes: Sizes = TINY) -> None:
    """Write index, regions and supervision of so many training pairs.

    One pair in a hundred was dropped.
    """
    rng = np.random.default_rng(0)
    names = pa.array([f"noun {number}" for number in range(NOUNS)], pa.string())
    vocabulary = folder / "supervision" / "vocabulary"
    vocabulary.mkdir(parents=True)
    pq.write_table(pa.table({"text": names}), vocabulary / "concepts.parquet")
    write_array(
        rng.standard_normal((NOUNS, sizes.text)).astype(np.float32), vocabulary / "embedding.npy"
    )
    write_json({}, vocabulary / "lemma.json")
    for name in ("index/metadata", *(f"supervision/{rule}" for rule in RULES)):
        (folder / name).mkdir(parents=True)
    with pq.ParquetWriter(folder / "index" / "ids.parquet", IDS) as ids:
        for first in range(0, pairs, SHARD):
            rows = np.arange(first, min(first + SHARD, pairs))
            ids.write_table(write_shard(folder, f"{first // SHARD:05d}", rows, names, sizes, rng))


def write_shard(
    folder: Path,
    shard: str,
    rows: np.ndarray,
    names: pa.Array,
    sizes: Sizes,
    rng: np.random.Generator,
) -> pa.Table:
    """Write a shard with rows [n]; return its ids."""
    count = len(rows)
    uid = pa.array([f"{row:032x}" for row in rows.tolist()])
    for rule, most in RULES.items():
        pq.write_table(
            draw_concepts(uid, names, rule, most, rng),
            folder / "supervision" / rule / f"{shard}.parquet",
            compression="zstd",
        )
    captions = pa.array([f"a caption of the pair with number {row}" for row in rows.tolist()])
    pq.write_table(
        pa.table({"uid": uid, "caption": captions}),
        folder / "index" / "metadata" / f"metadata_{shard}.parquet",
    )
    shapes = {
        "index/text_emb": (count, sizes.text),
        "features/regions": (sizes.regions * count, sizes.region),
    }
    for name, shape in shapes.items():
        values = rng.standard_normal(shape).astype(np.float16)
        write_array(values, folder / name / f"{Path(name).name}_{shard}.npy")
    count_of = np.full(count, sizes.regions, np.uint8)
    write_array(count_of, folder / "regions" / "count" / f"count_{shard}.npy")
    text = [pa.array([word] * count) for word in (shard, "train")]
    key = pa.array([f"{row:09d}" for row in rows.tolist()])
    fold = pa.array(np.zeros(count), pa.int32())
    return pa.table([pa.array(rows), uid, text[0], key, text[1], fold], schema=IDS)


def draw_concepts(
    uid: pa.Array, names: pa.Array, rule: str, most: int, rng: np.random.Generator
) -> pa.Table:
    """Return the supervision of n pairs, each with one to `most` different concepts."""
    count = rng.integers(1, most + 1, len(uid))
    total = int(count.sum())
    start = np.concatenate([[0], count.cumsum()])
    place = np.arange(total) - np.repeat(start[:-1], count)
    number = (np.repeat(rng.integers(NOUNS, size=len(uid)), count) + 37 * place) % NOUNS
    columns = {
        "text": names.take(pa.array(number)),
        "rule": pa.array([rule] * total),
        "cluster": pa.array(place % 3 if rule == "cocu" else np.full(total, -1), pa.int32()),
        "support": pa.array(np.ones(total), pa.int32()),
    }
    score = pa.array(rng.random(total) + 0.1, pa.float32())
    structs = pa.StructArray.from_arrays(
        [columns.get(field.name, score) for field in CONCEPT], fields=list(CONCEPT)
    )
    kept = pa.array(rng.random(len(uid)) > 0.01)
    reason = pa.array([None if is_kept else "made up" for is_kept in kept.to_pylist()], pa.string())
    lists = pa.ListArray.from_arrays(pa.array(start, pa.int32()), structs)
    return pa.table([uid, kept, reason, lists], schema=SUPERVISION)
