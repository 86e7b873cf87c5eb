"""A made-up index on disk: captioned pairs, embeddings and neighbours, as curation reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from captionseg.curation.marked import Inputs
from captionseg.records import IDS, PAIRS
from captionseg.storage.packed import write_packed
from captionseg.storage.writing import write_array, write_table

WIDTH = 512  # of embeddings and of features
NOUNS = 4  # a caption
SHARD = 10_000  # pairs, as img2dataset has it


def name_concepts(count: int) -> list[str]:
    """Made-up nouns, the most frequent first."""
    return [f"thing{number:06d}" for number in range(count)]


def embed_concepts(texts: Sequence[str]) -> np.ndarray:
    """Random directions, the same for the same concept: [C, D] float32, L2-normalised."""
    numbers = [int("".join(c for c in text if c.isdigit()) or 0) for text in texts]
    rows = [np.random.default_rng(n).standard_normal(WIDTH, dtype=np.float32) for n in numbers]
    return np.stack(rows) / np.linalg.norm(np.stack(rows), axis=1, keepdims=True)


def write_index(folder: Path, pairs: int, *, concepts: int, neighbours: int) -> Inputs:
    """Write an index of training pairs.

    A caption has four concepts, drawn by Zipf's law; the embedding of a picture is their mean and
    noise, and its features are the embedding. Neighbours are drawn at random.

    Args:
        folder: of `pairs`, `index` and `features`.
        pairs: N.
        concepts: C.
        neighbours: K.
    """
    inputs = Inputs(*(folder / name for name in ("pairs", "index", "features")))
    share = 1 / np.arange(1, concepts + 1)
    words, vectors = (
        np.array(name_concepts(concepts), object),
        embed_concepts(name_concepts(concepts)),
    )
    ids = []
    near, near_captions = (
        np.lib.format.open_memmap(
            make(inputs.index) / f"{name}.npy", "w+", np.int32, (pairs, width)
        )
        for name, width in (("neighbours", neighbours), ("caption_neighbours", 8))
    )
    for number, start in enumerate(range(0, pairs, SHARD)):
        rng, shard = np.random.default_rng(number), f"{number:05d}"
        rows = np.arange(start, min(start + SHARD, pairs))
        drawn = rng.choice(concepts, (len(rows), NOUNS), p=share / share.sum())
        captions = [f"a {', a '.join(nouns)}" for nouns in words[drawn].tolist()]
        uid = [f"{row:032x}" for row in rows.tolist()]
        ids.append(write_pairs(inputs, shard, uid, captions))
        image = vectors[drawn].mean(1) + 0.03 * rng.standard_normal(
            (len(rows), WIDTH), dtype=np.float32
        )
        image /= np.linalg.norm(image, axis=1, keepdims=True)
        embedding = inputs.index / "img_emb" / f"img_emb_{shard}.npy"
        write_array(image.astype(np.float16), embedding)
        (make(inputs.features / "pooled") / f"pooled_{shard}.npy").hardlink_to(embedding)
        write_packed(
            image[:, :8].astype(np.float16),
            inputs.features / "descriptor" / f"descriptor_{shard}.arrow",
        )
        for array in (near, near_captions):
            array[rows] = rng.integers(0, pairs, (len(rows), array.shape[1]), np.int32)
    table = pa.concat_tables(ids)
    columns = [pa.array(np.arange(pairs)), *table.columns, pa.array(np.zeros(pairs, np.int32))]
    write_table(pa.table(columns, schema=IDS), inputs.index / "ids.parquet")
    return inputs


def write_pairs(inputs: Inputs, shard: str, uid: list[str], captions: list[str]) -> pa.Table:
    """Write the pairs of a shard and their metadata; returns uid, shard, key and split."""
    count = len(uid)
    values = {
        "uid": uid,
        "key": [text[-9:] for text in uid],
        "url": [f"https://example.org/{text[-9:]}.jpg" for text in uid],
        "caption": captions,
        "split": ["train"] * count,
        "status": ["success"] * count,
        "sha256": [text + text for text in uid],
        "phash": [text[-16:] for text in uid],
        "width": [256] * count,
        "height": [256] * count,
        "original_width": [512] * count,
        "original_height": [512] * count,
        "original_sha256": [text + text for text in uid],
        "source_row": [f"pairs.csv:{int(text, 16)}" for text in uid],
    }
    columns = [pa.array(values.get(f.name, [None] * count), f.type) for f in PAIRS]
    table = pa.table(columns, schema=PAIRS)
    write_table(table, inputs.pairs / f"{shard}.parquet")
    (inputs.pairs / f"{shard}.tar").touch()
    stats = {"count": count, "successes": count}
    (inputs.pairs / f"{shard}_stats.json").write_text(json.dumps(stats))
    metadata = inputs.index / "metadata" / f"metadata_{shard}.parquet"
    write_table(table.select(["uid", "caption"]), metadata)
    return pa.table(
        {
            "uid": table["uid"],
            "shard": pa.array([shard] * count, pa.string()),
            "key": table["key"],
            "split": table["split"],
        }
    )


def make(folder: Path) -> Path:
    """Make a folder, if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder
