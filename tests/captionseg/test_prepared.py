"""Features and masks of the run's own data, row by row, against the files themselves."""

import shutil
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.own_split import HeldOut
from captionseg.benchmarks.segment_retrieval import captions_of
from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.random_access import Pictures
from captionseg.grids import MEAN
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.modeling.segmenter import InputSpec
from captionseg.prepared import LabelledPictures, PreparedInputs, normalise_image
from captionseg.records import UserError
from captionseg.storage.folders import read_arrays


def test_known_pictures_of_a_split_in_the_order_of_the_index(world):
    known = LabelledPictures.of_split(world.index, world.truth, "test")
    split = np.array(world.table["split"].to_pylist())
    assert known.rows.tolist() == np.flatnonzero(split == "test").tolist()
    assert known.uid == np.array(world.table["uid"].to_pylist())[known.rows].tolist()
    assert len(known) == len(known.masks) == 8
    assert len(LabelledPictures.of_split(world.index, world.truth, "nowhere")) == 0


def test_a_picture_of_several_pairs_is_scored_once(world, tmp_path):
    """Three test pairs in a row have one picture, two of them one mask too: that one is left
    out."""
    shutil.copytree(world.pairs, tmp_path / "pairs")
    shutil.copytree(world.truth, tmp_path / "truth")
    rows = LabelledPictures.of_split(world.index, world.truth, "test").rows
    shard, uids = (
        world.table["shard"][int(rows[0])].as_py(),
        [world.table["uid"][int(row)].as_py() for row in rows[:3]],
    )
    for folder, name, of in (("pairs", "sha256", 3), ("truth", "mask", 2)):
        path = tmp_path / folder / f"{shard}.parquet"
        table = pq.read_table(path)
        values, at = (
            table[name].to_pylist(),
            [table["uid"].to_pylist().index(uid) for uid in uids[:of]],
        )
        values = [values[at[0]] if row in at else value for row, value in enumerate(values)]
        column = pa.array(values, table.schema.field(name).type)
        pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)
    known = LabelledPictures.of_split(
        world.index, tmp_path / "truth", "test", pairs=tmp_path / "pairs"
    )
    assert known.rows.tolist() == [rows[0], *rows[2:]]
    assert len(known.masks) == len(known.uid) == 7
    held_out = HeldOut.load(
        Folders(replace(world.prepared, pairs=tmp_path / "pairs"), tmp_path / "truth"), "test"
    )
    assert held_out.pictures.uid == known.uid
    captions = captions_of(read_pairs(tmp_path / "pairs"), known.uid)
    of = dict(zip(world.table["uid"].to_pylist(), world.table["caption"].to_pylist(), strict=True))
    assert captions[:2] == [[of[uid] for uid in uids]] * 2
    assert captions[2:] == [[of[uid]] for uid in known.uid[2:]]


def test_inputs_are_those_of_the_files_in_the_order_asked_for(world):
    rows = np.array([7, 2, 40])
    inputs = PreparedInputs(regions=world.regions, features=world.features)(rows, (5, 6))
    # of four regions each
    np.testing.assert_array_equal(inputs.regions, world.pooled[rows, :4].astype(np.float32))
    np.testing.assert_array_equal(inputs.labels, world.labels[rows])
    assert inputs.region_mask.all()
    assert inputs.size == (5, 6)
    assert inputs.image is None
    assert inputs.dense is None


def test_regions_without_features_are_refused(world):
    with pytest.raises(ValueError, match=r"regions: regions need the folder of their features$"):
        PreparedInputs(regions=world.regions)


def test_pictures_and_dense_features_where_they_are_asked_for(world):
    rows, pictures = np.array([30, 1]), Pictures.of_index(world.pairs, world.index)
    dense = world.prepared.dense(world.prepared.shards())
    inputs = PreparedInputs(pictures=pictures, dense=dense)(rows, (5, 6))
    np.testing.assert_array_equal(
        inputs.dense, read_arrays(world.features / "dense")[rows].astype(np.float32)
    )
    for image, row in zip(inputs.image, rows, strict=True):
        torch.testing.assert_close(image, normalise_image(pictures[row]))
    assert inputs.regions.shape == (2, 0, 0)
    assert PreparedInputs(pictures=pictures, side=16)(rows, (5, 6)).image.shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    "name", ["features/regions", "regions/labels", "regions/count", "features/dense"]
)
def test_a_shard_that_was_lost_does_not_give_its_pictures_the_regions_of_others(
    world, tmp_path, name
):
    kind = name.split("/")[1]
    for part in ("regions", "features", "index"):
        shutil.copytree(getattr(world, part), tmp_path / part, symlinks=True)
    prepared = PreparedFolders(
        world.pairs, tmp_path / "index", tmp_path / "regions", tmp_path / "features"
    )
    reads = InputSpec(dense=kind == "dense")
    prepared.inputs(reads)
    (file,) = (tmp_path / name).glob(f"{kind}_00001.*")
    file.unlink()
    with pytest.raises(
        UserError, match=rf"{file.name}: no such file, so rows are missing; run `dvc repro`"
    ):
        prepared.inputs(reads)


def test_a_normalised_picture_has_mean_0_and_deviation_1_where_imagenet_has_its_own():
    level = np.tile((np.array(MEAN) * 255).round().astype(np.uint8), (4, 5, 1))
    assert normalise_image(level).abs().max() < 0.01
    assert normalise_image(level).shape == (3, 4, 5)


def test_masks_of_several_pictures_are_padded_with_empty_ones(world):
    class Maker:
        def masks(self, image):
            count = 1 + int(image[0, 0, 0]) % 3
            return np.ones((count, 4, 5), bool), np.ones(count, np.float32)

    rows, pictures = np.arange(12), Pictures.of_index(world.pairs, world.index)
    inputs = PreparedInputs(pictures=pictures, masks=Maker(), pixels=False)(rows, (5, 6))
    counts = [1 + int(pictures[row][0, 0, 0]) % 3 for row in rows]
    assert len(set(counts)) > 1
    assert inputs.masks.shape == (12, max(counts), 4, 5)
    assert inputs.masks.dtype == torch.bool
    assert inputs.masks.all((2, 3)).sum(1).tolist() == counts
    assert inputs.masks.any((2, 3)).sum(1).tolist() == counts
    assert inputs.image is None
