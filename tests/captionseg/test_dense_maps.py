"""Dense features are the same, stored, lent or embedded again."""

import functools
import shutil
from dataclasses import replace

import numpy as np
import pytest

from captionseg import indexing
from captionseg.datasets.shard_images import read_images
from captionseg.dense_maps import has_dense, open_dense, read_dense
from captionseg.encoders.text_space import load_encoder
from captionseg.feature_reuse import find_lent
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.storage.folders import read_arrays
from captionseg.training import loader


@pytest.fixture
def lean(world, tmp_path):
    """Folder features/ without dense maps."""
    for part in world.features.iterdir():
        if part.name != "dense":
            (tmp_path / "features").mkdir(exist_ok=True)
            (tmp_path / "features" / part.name).symlink_to(part)
    return tmp_path / "features"


def test_a_shard_embedded_again_is_what_was_stored(world, lean):
    encoder = functools.cache(functools.partial(load_encoder, world.encoder))
    assert (has_dense(world.features), has_dense(lean)) == (True, False)
    stored, again = (
        list(read_dense(features, world.pairs, "00001", encoder))
        for features in (world.features, lean)
    )
    images = list(read_images(world.pairs, "00001"))
    assert len(stored) == len(again) == len(images) == 16
    for (uid, image), one, other in zip(images, stored, again, strict=True):
        assert uid == one[0] == other[0]
        np.testing.assert_array_equal(image, other[1])
        assert other[2].dtype == np.float16
        np.testing.assert_array_equal(one[2], other[2])


def test_rows_embedded_again_are_what_was_stored(world, lean):
    prepared = replace(world.prepared, features=lean)
    rows, stored = np.array([50, 3, 17, 3, 0, 1, 2]), read_arrays(world.features / "dense")
    np.testing.assert_array_equal(prepared.dense(prepared.shards())[rows], stored[rows])
    inputs = [p.inputs(InputSpec(dense=True))(rows, (8, 8)) for p in (prepared, world.prepared)]
    np.testing.assert_array_equal(inputs[0].dense, inputs[1].dense)


def test_nothing_is_loaded_for_what_is_stored_or_lent(world, lean):
    shards, rows = world.prepared.shards(), np.array([50, 3])
    for features, lent in ((world.features, None), (lean, world.features / "dense")):
        maps = open_dense(features, shards, pictures=pytest.fail, encoder=pytest.fail, lent=lent)
        np.testing.assert_array_equal(maps[rows], read_arrays(world.features / "dense")[rows])
        stored = np.load(world.features / "dense" / "dense_00001.npy")
        read = [
            maps for *_, maps in read_dense(features, world.pairs, "00001", pytest.fail, lent=lent)
        ]
        np.testing.assert_array_equal(np.stack(read), stored)


def test_what_is_lent_of_some_shards_is_embedded_for_the_others(world, lean):
    """As after shards were added to features that were taken over."""
    prepared, file = replace(world.prepared, features=lean), lean.parent / "dense_00001.npy"
    np.save(file, np.load(world.features / "dense" / file.name))
    stored = read_arrays(world.features / "dense")
    rows = np.arange(len(stored))
    maps = open_dense(
        lean,
        prepared.shards(),
        pictures=prepared.pictures,
        encoder=functools.partial(load_encoder, world.encoder),
        lent=file.parent,
    )
    np.testing.assert_array_equal(maps[rows], stored)
    encoder = functools.cache(functools.partial(load_encoder, world.encoder))
    read = [
        maps
        for shard in prepared.shards()
        for *_, maps in read_dense(lean, world.pairs, shard, encoder, lent=file.parent)
    ]
    np.testing.assert_array_equal(np.stack(read), stored)


def test_training_on_dense_features_asks_for_stored_ones(world, lean):
    folders = loader.Folders(replace(world.prepared, features=lean), world.supervision, world.truth)
    reads = InputSpec(dense=True)
    with pytest.raises(UserError, match=r"dense: does not exist.*set index.keep_dense: true"):
        loader.load(folders, curation="cocu", archive="cocu", reads=reads)
    loader.load(folders, curation="cocu", archive="cocu")


def test_a_shard_of_other_pictures_is_refused(world, lean):
    shutil.copytree(world.features / "dense", lean / "dense")
    file = lean / "dense" / "dense_00001.npy"
    np.save(file, np.load(file)[1:])
    with pytest.raises(UserError, match="shard 00001: 16 images, 15 rows of features"):
        list(read_dense(lean, world.pairs, "00001", pytest.fail))


def test_dense_maps_are_lent_by_default_and_all_else_is_the_same(world, toy, tmp_path):
    params = toy.index_params(neighbours=8, keep_dense=False)
    features, index = tmp_path / "features", tmp_path / "index"
    indexing.build(
        world.pairs,
        world.table,
        params,
        features=features,
        index=index,
        seed=0,
        regions=world.regions,
        lent=tmp_path / "lent",
    )
    assert not (features / "dense").exists()
    find_lent(tmp_path / "lent", features).rename(features / "dense")
    for new, old in ((features, world.features), (index, world.index)):
        files = {file.relative_to(new) for file in new.rglob("*") if file.is_file()}
        others = {file.relative_to(old) for file in old.rglob("*") if file.is_file()}
        assert files == others
        assert all((new / name).read_bytes() == (old / name).read_bytes() for name in files)


def test_dense_maps_of_more_pictures_are_not_lent(world, toy, tmp_path):
    for most, lent in ((len(world.table) - 1, False), (len(world.table), True)):
        params = toy.index_params(neighbours=8, keep_dense=False, lend_dense=most)
        features, folder = tmp_path / f"f{most}", tmp_path / "lent"
        (folder / "of other pictures").mkdir(parents=True)
        indexing.build(
            world.pairs,
            world.table,
            params,
            features=features,
            index=tmp_path / f"i{most}",
            seed=0,
            lent=folder,
        )
        mine = find_lent(folder, features)
        assert list(folder.iterdir()) == ([mine] if lent else [])
        assert not (features / "dense").exists()
