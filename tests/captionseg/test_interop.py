"""What other tools read of ours: webdataset and pandas the shards, clip-retrieval's and autofaiss's
readers the index.

embedding_reader, by which autofaiss and clip-retrieval read embeddings, asks for pandas below 3:
its access is written out here.
"""

from __future__ import annotations

import gc
import io
import json
import warnings

import faiss
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.lib import format as npy
from PIL import Image


def test_webdataset_reads_the_shards(world):
    import webdataset

    kept = world.table.to_pylist()
    files = [str(path) for path in sorted(world.pairs.glob("*.tar"))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves the tars open
        dataset = webdataset.WebDataset(files, shardshuffle=False, empty_check=False)
        samples = [*dataset.decode("pil")]
        del dataset
        gc.collect()
    assert [s["__key__"] for s in samples] == [row["key"] for row in kept]
    assert [s["txt"] for s in samples] == [row["caption"] for row in kept]
    for sample, row in zip(samples, kept, strict=True):
        assert sample["jpg"].size == (row["width"], row["height"])
        assert {name: sample["json"][name] for name in ("url", "status", "sha256")} == {
            name: row[name] for name in ("url", "status", "sha256")
        }


def test_pandas_reads_the_tables_as_those_of_img2dataset(world):
    files = sorted(world.pairs.glob("*.parquet"))
    frame = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    columns = "url caption key status error_message width height original_width original_height"
    assert {*columns.split(), "sha256"} <= {*frame.columns}
    assert (frame["status"] != "success").sum() == 1
    assert frame.loc[frame["status"] != "success", "error_message"].tolist() == ["404"]
    assert frame["url"].is_unique
    assert frame["original_width"].dropna().eq(32).all()
    for file, path in zip(files, sorted(world.pairs.glob("*_stats.json")), strict=True):
        stats = json.loads(path.read_text())
        assert stats["count"] == pq.read_metadata(file).num_rows
        assert (
            stats["count"]
            == stats["successes"] + stats["failed_to_download"] + stats["failed_to_resize"]
        )


def test_embeddings_are_read_by_offset_beside_their_metadata(world):
    """As embedding_reader's ParquetNumpyReader: both lists of files sorted by name and zipped, rows
    read behind the header of each file."""
    arrays, tables = (
        sorted((world.index / folder).rglob(f"*.{kind}"))
        for folder, kind in (("img_emb", "npy"), ("metadata", "parquet"))
    )
    keys, rows = [], []
    for array, table in zip(arrays, tables, strict=True):
        with array.open("rb") as stream:
            assert npy.read_magic(stream) == (1, 0)
            (count, width), fortran, dtype = npy.read_array_header_1_0(stream)
            assert (fortran, dtype) == (False, np.float16)
            rows.append(np.frombuffer(stream.read(), dtype).reshape(count, width))
        metadata = pq.read_table(table).select(["image_path", "caption", "url"]).to_pandas()
        assert len(metadata) == count
        keys += metadata["image_path"].tolist()
    assert keys == world.table["key"].to_pylist()
    index = faiss.read_index(str(world.index / "image.index"))
    near = index.search(np.concatenate(rows).astype(np.float32), 1)[1][:, 0]
    again = np.concatenate(rows)[near]
    np.testing.assert_allclose(again.astype(np.float32), np.concatenate(rows), atol=2e-3)


def test_metadata_are_those_of_clip_retrieval(world):
    """Row i of the concatenated files is what its service says of faiss id i."""
    files = sorted((world.index / "metadata").glob("*.parquet"))
    assert [file.name for file in files] == [f"metadata_{i:05d}.parquet" for i in range(len(files))]
    frame = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    ids = pq.read_table(world.index / "ids.parquet").to_pandas()
    assert frame["uid"].tolist() == ids["uid"].tolist()
    assert frame["image_path"].tolist() == ids["key"].tolist()
    url = dict(zip(world.table["uid"].to_pylist(), world.table["url"].to_pylist(), strict=True))
    assert frame["url"].tolist() == [url[uid] for uid in frame["uid"]]
    assert all(isinstance(value, str) for name in ("caption", "url") for value in frame[name])


def test_a_picture_is_in_the_tar_as_its_table_says(world):
    """With nothing but the standard library."""
    import hashlib
    import tarfile

    row = world.table.slice(0, 1).to_pylist()[0]
    with tarfile.open(world.pairs / f"{row['shard']}.tar") as tar:
        data = tar.extractfile(f"{row['key']}.jpg").read()
    assert hashlib.sha256(data).hexdigest() == row["sha256"]
    assert Image.open(io.BytesIO(data)).size == (row["width"], row["height"])
