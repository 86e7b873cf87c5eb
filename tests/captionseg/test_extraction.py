"""The features of shards: rows, what is pooled while dense features exist, and resumption."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.datasets.shard_images import read_images
from captionseg.encoders.text_space import TextSpace
from captionseg.extraction import extract
from captionseg.segmenters.pooling import pool_regions
from captionseg.storage.folders import count_rows
from captionseg.storage.packed import PackedArray, write_packed
from captionseg.storage.writing import write_array


def test_features_of_each_shard_in_row_order(world):
    encoder = TextSpace.load(world.encoder).encoder
    for shard in ("00000", "00003"):
        images = [image for _, image in read_images(world.pairs, shard)]
        expected = encoder.features(images)
        for name in ("pooled", "descriptor", "dense"):
            file = world.features / name / f"{name}_{shard}"
            stored = read_rows(file.with_suffix(".arrow" if name == "descriptor" else ".npy"))
            assert stored.dtype == np.float16
            np.testing.assert_allclose(stored, getattr(expected, name), atol=1e-3)


def read_rows(file):
    return (
        PackedArray(file)[np.arange(count_rows(file))] if file.suffix == ".arrow" else np.load(file)
    )


def test_features_pooled_over_regions_and_cells(world):
    """Regions are four quadrants of pictures of sixteen cells; means have the type of an
    alignment."""
    for shard in ("00000", "00003"):
        dense = np.load(world.features / "dense" / f"dense_{shard}.npy")
        cells = np.load(world.features / "cells" / f"cells_{shard}.npy")
        np.testing.assert_array_equal(cells, dense.mean((1, 2), dtype=np.float32))
        labels = PackedArray(world.regions / "labels" / f"labels_{shard}.arrow")
        pooled = [
            pool_regions(maps, ids, 4)
            for maps, ids in zip(dense, labels[np.arange(len(dense))], strict=True)
        ]
        stored = np.load(world.features / "regions" / f"regions_{shard}.npy")
        np.testing.assert_array_equal(stored, np.concatenate(pooled).astype(np.float16))


def test_finished_shards_are_not_encoded_again(world, toy, tmp_path):
    encoder = toy.params().build(None)
    first = world.table.filter(np.isin(world.table["shard"], ["00000", "00001"]))
    extract(first, world.pairs, lambda: encoder, tmp_path)
    (tmp_path / "dense" / "dense_00001.npy").unlink()  # as if killed before its last file
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*_00000.npy")}
    seen = []
    encoder.features = lambda images: (
        seen.append(len(images)) or type(encoder).features(encoder, images)
    )
    extract(first, world.pairs, lambda: encoder, tmp_path)
    assert sum(seen) == len(np.load(tmp_path / "dense" / "dense_00001.npy")) == 16
    assert max(seen) == encoder.batch
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


@pytest.mark.parametrize("name", ["pooled", "descriptor", "dense"])
def test_features_that_lack_a_row_are_made_again(world, toy, tmp_path, name):
    encoder = toy.params().build(None)
    first = world.table.filter(np.isin(world.table["shard"], ["00000"]))
    extract(first, world.pairs, lambda: encoder, tmp_path)
    (file,) = (tmp_path / name).glob(f"{name}_00000.*")
    whole, rows = file.read_bytes(), read_rows(file)
    write = write_packed if file.suffix == ".arrow" else write_array
    for damage in (
        file.unlink,
        lambda: write(rows[1:], file),
        lambda: file.write_bytes(whole[:-3]),
    ):
        damage()
        extract(first, world.pairs, lambda: encoder, tmp_path)
        assert file.read_bytes() == whole
