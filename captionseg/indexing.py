"""pairs -> features, embeddings, indexes and neighbours, shard by shard, in clip-retrieval's layout."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from captionseg.datasets.shards import read_images
from captionseg.encoders import Encoder, IndexParams, TextSpace, normalised
from captionseg.encoders.alignment import cross_fit, fit, folds_of
from captionseg.encoders.reduction import ReducedEncoder, Reduction, fit_reduction
from captionseg.records import IDS, NEIGHBOURS, UserError
from captionseg.retrieval import INDEXES, FaissIndex, neighbours
from captionseg.storage import read_arrays, write_array, write_table


def extract(pairs: Path, shards: Sequence[str], encoder: Encoder, features: Path) -> None:
    """Write pooled_, descriptor_ and dense_NNNNN.npy (fp16) of every shard that has none yet.

    dense is written last, so that its presence says that the shard is finished.
    """
    for shard in tqdm(shards, desc="features", unit="shard"):
        if (features / "dense" / f"dense_{shard}.npy").exists():
            continue
        images = tqdm((image for _, image in read_images(pairs, shard)), desc=shard, unit="img", leave=False)
        parts = [encoder.features(batch) for batch in batched(images, encoder.batch)]
        for name in ("pooled", "descriptor", "dense"):
            rows = np.concatenate([getattr(part, name) for part in parts]).astype(np.float16)
            write_array(rows, features / name / f"{name}_{shard}.npy")


def reduced(encoder: Encoder, pairs: Path, shard: str, params: IndexParams, folder: Path) -> Encoder:
    """The encoder with its dense features reduced; the reduction is fitted once, on images of the first shard."""
    if encoder.aligned or not params.dense_width:
        return encoder
    reduction = Reduction.load(folder)
    if reduction is None:
        images = [image for _, image in itertools.islice(read_images(pairs, shard), params.dense_sample)]
        reduction = fit_reduction(encoder, images, params.dense_width)
        reduction.save(folder)
    return ReducedEncoder(encoder, reduction)


def batched(items: Iterable, size: int) -> Iterable[list]:
    """Lists of `size` items, the last one shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def align(pairs: pa.Table, features: Path, encoder: Encoder, params: IndexParams, *,
          seed: int) -> tuple[TextSpace, np.ndarray, np.ndarray, np.ndarray]:
    """Join image features and caption embeddings in one space.

    Returns:
        the space; image embeddings [N, D], cross-fitted on the training split; caption embeddings [N, D]; and the
        fold of each row, -1 outside train.
    """
    text = encoder.text(pairs["caption"].to_pylist())
    pooled = read_arrays(features / "pooled").astype(np.float32)
    train = np.array(pairs["split"].to_pylist()) == "train"
    fold = np.full(len(text), -1, np.int32)
    if encoder.aligned:
        space = TextSpace(encoder, None, None)
        return space, space.project_pooled(pooled), text, fold
    cells = np.concatenate([np.load(file, mmap_mode="r").mean((1, 2), dtype=np.float32)
                            for file in sorted((features / "dense").glob("*.npy"))])
    image = fit(pooled[train], text[train], params.alignment, seed=seed)
    dense = fit(cells[train], text[train], params.alignment, seed=seed)  # of single cells, trained on their means
    space = TextSpace(encoder, image, dense)
    embedding = image(pooled)
    fold[train] = folds_of(int(train.sum()), params.alignment.folds, seed=seed)
    if params.alignment.folds > 1:
        embedding[train] = cross_fit(pooled[train], text[train], fold[train], params.alignment, seed=seed)
    return space, embedding, text, fold


def write_index(pairs: pa.Table, embedding: np.ndarray, text: np.ndarray, fold: np.ndarray, index: Path) -> None:
    """img_emb, text_emb, metadata, ids.parquet: one file of each a shard, as clip-retrieval names them."""
    shard = np.array(pairs["shard"].to_pylist())
    for number, name in enumerate(dict.fromkeys(shard)):
        rows = shard == name
        write_array(normalised(embedding[rows]).astype(np.float16), index / "img_emb" / f"img_emb_{number:05d}.npy")
        write_array(normalised(text[rows]).astype(np.float16), index / "text_emb" / f"text_emb_{number:05d}.npy")
        part = pairs.filter(pa.array(rows))
        metadata = {"image_path": part["key"], "caption": part["caption"], "uid": part["uid"]}
        write_table(pa.table(metadata), index / "metadata" / f"metadata_{number:05d}.parquet")
    ids = [pa.array(np.arange(len(pairs))), pairs["uid"], pairs["shard"], pairs["key"], pairs["split"], pa.array(fold)]
    write_table(pa.table([column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
                          for column in ids], schema=IDS), index / "ids.parquet")


def write_neighbours(name: str, pairs: pa.Table, queries: np.ndarray, vectors: np.ndarray, k: int,
                     params: IndexParams, index: Path) -> None:
    """NAME.parquet: for every row of `queries` its most similar training rows of `vectors`, itself excluded."""
    train = np.flatnonzero(np.array(pairs["split"].to_pylist()) == "train")
    search = INDEXES[params.backend](vectors[train], params.faiss_key)
    near, similarity = neighbours(search, train, queries, min(k, max(1, len(train) - 1)))
    columns = [pa.array(np.arange(len(pairs)), pa.int64()), pa.array(list(near), NEIGHBOURS.field(1).type),
               pa.array(list(similarity), NEIGHBOURS.field(2).type)]
    write_table(pa.table(columns, schema=NEIGHBOURS), index / f"{name}.parquet")


def build(pairs_folder: Path, pairs: pa.Table, params: IndexParams, *, features: Path, index: Path,
          seed: int) -> dict[str, float]:
    """The whole stage; every step leaves files, so that a killed run goes on from its last finished shard.

    Args:
        pairs_folder: img2dataset shards.
        pairs: their successful rows, in shard order.
        params: section `index`.
        features: out; pooled, descriptor and dense features by shard, and the encoder with its alignments.
        index: out; clip-retrieval's layout with ids and neighbours.
        seed: of folds and alignments.

    Raises:
        UserError: if no pair is of the training split.
    """
    if "train" not in pairs["split"].to_pylist():
        raise UserError(f"{pairs_folder}: no pair of the training split; nothing to align, search or curate")
    shards = list(dict.fromkeys(pairs["shard"].to_pylist()))
    encoder = reduced(params.build(), pairs_folder, shards[0], params, features / "encoder")
    extract(pairs_folder, shards, encoder, features)
    space, embedding, text, fold = align(pairs, features, encoder, params, seed=seed)
    chosen = getattr(params, params.encoder)
    space.save(features / "encoder", encoder=params.encoder, params=dataclasses.asdict(chosen),
               precision=params.precision)
    write_index(pairs, embedding, text, fold, index)
    for name, vectors in (("image", embedding), ("text", text)):
        FaissIndex(normalised(vectors), params.faiss_key).save(index / f"{name}.index")
    descriptor = read_arrays(features / "descriptor").astype(np.float32)
    write_neighbours("neighbours", pairs, descriptor, descriptor, params.neighbours, params, index)
    write_neighbours("caption_neighbours", pairs, embedding, text, params.caption_neighbours, params, index)
    return {"pairs": float(len(pairs)), "embedding_dimensions": float(embedding.shape[1])}
