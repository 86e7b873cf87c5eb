"""The data of a run, read by the code of clip-retrieval and embedding_reader themselves.

    pip install --no-deps clip-retrieval embedding-reader fire flask flask-cors flask-restful \\
        aniso8601 h5py prometheus_client termcolor
    python -m tests.soak.readers [--data data]

Not a part of the tests: clip-retrieval asks for older packages than ours, so it is best installed
in an environment of its own. Prints a row per reader; exit code 1 if one finds other rows than our
own tables have.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from captionseg.datasets.ids import read_ids
from captionseg.datasets.pair_tables import read_pairs

UNUSED = ("all_clip", "img2dataset", "wandb")
"""Packages that clip-retrieval imports, and that reading does not use."""
QUERIES = 20


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 if all of them read what is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.readers", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of a run's data")
    data = parser.parse_args(argv).data
    for name in UNUSED:
        stub = types.ModuleType(name)
        stub.load_clip = stub.download = None  # type: ignore[attr-defined]
        sys.modules.setdefault(name, stub)
    wrong = 0
    for read in (read_shards, read_metadata, search_images, read_embeddings):
        what, found, expected = read(data)
        wrong += found != expected
        outcome = "same" if found == expected else "DIFFERENT"
        sys.stdout.write(f"{what:<26} {outcome}, {len(expected)} rows\n")
    return int(wrong > 0)


Rows = list[tuple[str, ...]]


def read_shards(data: Path) -> tuple[str, Rows, Rows]:
    """(key, caption, uid) of all samples, by the reader of clip-retrieval's inference."""
    module = importlib.import_module("clip_retrieval.clip_inference.reader")
    tars = sorted(str(path) for path in (data / "pairs").glob("*.tar"))
    samples = module.create_webdataset(tars, type, lambda _: [0], enable_metadata=True)
    found = [
        (sample["image_filename"], sample["text"], json.loads(sample["metadata"])["uid"])
        for sample in samples
    ]
    return "clip-retrieval, shards", found, list_columns(data, "key", "caption", "uid")


def read_metadata(data: Path) -> tuple[str, Rows, Rows]:
    """(url, caption) of all rows of the index, by the provider of clip-retrieval's server."""
    back = importlib.import_module("clip_retrieval.clip_back")
    provider = back.ParquetMetadataProvider(str(data / "index" / "metadata"))
    rows = provider.get(range(len(read_ids(data / "index"))), ["url", "caption"])
    found = [(row["url"], row["caption"]) for row in rows]
    return "clip-retrieval, metadata", found, list_columns(data, "url", "caption")


def search_images(data: Path) -> tuple[str, Rows, Rows]:
    """The rows nearest to some images, by the index that clip-retrieval loads."""
    back = importlib.import_module("clip_retrieval.clip_back")
    index = back.load_index(str(data / "index" / "image.index"), True)
    images = np.concatenate([part for part in load_images(data)])
    _, rows = index.search(images[:QUERIES], 1)
    found = [(str(row),) for row in rows[:, 0]]
    return "clip-retrieval, image.index", found, [(str(row),) for row in range(len(found))]


def read_embeddings(data: Path) -> tuple[str, Rows, Rows]:
    """(sum of an embedding, caption) of all rows, by embedding_reader."""
    reader = importlib.import_module("embedding_reader").EmbeddingReader(
        embeddings_folder=str(data / "index" / "img_emb"),
        metadata_folder=str(data / "index" / "metadata"),
        meta_columns=["caption"],
        file_format="parquet_npy",
    )
    found: Rows = []
    for embeddings, metadata in reader(
        batch_size=1000, start=0, end=reader.count, show_progress=False
    ):
        sums = embeddings.astype(np.float32).sum(1)
        found += [(f"{s:.4f}", caption) for s, caption in zip(sums, metadata["caption"])]
    sums = np.concatenate([part.sum(1) for part in load_images(data)])
    captions = [caption for (caption,) in list_columns(data, "caption")]
    return "embedding_reader", found, [(f"{s:.4f}", c) for s, c in zip(sums, captions)]


def load_images(data: Path) -> Iterator[np.ndarray]:
    """The image embeddings of each shard, float32 [N, D]."""
    for path in sorted((data / "index" / "img_emb").glob("*.npy")):
        yield np.load(path).astype(np.float32)


def list_columns(data: Path, *names: str) -> Rows:
    """The columns of our own tables, in the order of the index."""
    table = read_pairs(data / "pairs")
    return list(zip(*(table[name].to_pylist() for name in names), strict=True))


if __name__ == "__main__":
    sys.exit(main())
