import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from captionseg.curation import corpus as corpora
from captionseg.encoders.text_space import TextSpace
from captionseg.records import NEIGHBOURS, UserError
from captionseg.storage.folders import read_arrays
from captionseg.text.corpus_vocabulary import build
from captionseg.text.prompts import embed_classes
from captionseg.text.vocabulary import VocabularyParams


@pytest.fixture(scope="module")
def loaded(world):
    encode = TextSpace.load(world.encoder).encode
    return corpora.load(
        world.index,
        world.features,
        lambda captions: build(captions, VocabularyParams(minimum=2)),
        encode,
    )


def test_the_training_split_alone(world, loaded):
    corpus, vocabulary = loaded
    train = np.array(world.table["split"].to_pylist()) == "train"
    assert list(corpus.uid) == list(np.array(world.table["uid"].to_pylist())[train])
    assert list(corpus.caption) == list(np.array(world.table["caption"].to_pylist())[train])
    np.testing.assert_array_equal(
        corpus.image_embedding, read_arrays(world.index / "img_emb")[train]
    )
    np.testing.assert_array_equal(
        corpus.image_feature, read_arrays(world.features / "pooled")[train]
    )
    assert corpus.image_embedding.dtype == np.float32
    assert set(vocabulary.concepts) == {"dog", "cat", "bird", "grass", "sand", "water"}


def test_concepts_are_embedded_as_prompts(world, loaded):
    corpus, vocabulary = loaded
    expected = embed_classes(vocabulary.concepts, TextSpace.load(world.encoder).encode)
    np.testing.assert_array_equal(corpus.concept_embedding, expected)


def test_captions_name_what_they_say(loaded):
    corpus, vocabulary = loaded
    for caption, row in zip(corpus.caption, corpus.named.toarray(), strict=True):
        assert {c for c, here in zip(vocabulary.concepts, row, strict=True) if here} == set(
            caption.split()
        ) - {"a", "on", "the"}


def test_neighbours_are_rows_of_the_corpus(world, tmp_path, loaded):
    # the same index with test images before training images, so that rows of the index and of the
    # corpus differ
    # test, train, tune
    order = np.argsort(np.array(world.table["split"].to_pylist()), kind="stable")
    rank = np.argsort(order)
    for file in ("ids.parquet", "neighbours.parquet", "caption_neighbours.parquet"):
        table = pq.read_table(world.index / file).take(pa.array(order))
        table = table.set_column(0, "row", pa.array(np.arange(len(order))))
        if file != "ids.parquet":
            near = [rank[row].tolist() for row in table["neighbours"].to_pylist()]
            table = pa.table(
                [table["row"], pa.array(near, NEIGHBOURS.field(1).type), table["similarities"]],
                schema=NEIGHBOURS,
            )
        # several chunks, as in a large table
        pq.write_table(table, tmp_path / file, row_group_size=7)
    for name in ("img_emb", "metadata", "features/pooled"):
        (tmp_path / name).mkdir(parents=True)
    features, shard = tmp_path / "features", np.array(world.table["shard"].to_pylist())[order]
    for number, name in enumerate(dict.fromkeys(shard)):
        rows = order[shard == name]
        np.save(
            tmp_path / "img_emb" / f"img_emb_{number:05d}.npy",
            read_arrays(world.index / "img_emb")[rows],
        )
        np.save(
            features / "pooled" / f"pooled_{name}.npy", read_arrays(world.features / "pooled")[rows]
        )
        part = world.table.select(["uid", "caption"]).take(pa.array(rows))
        pq.write_table(part, tmp_path / "metadata" / f"metadata_{number:05d}.parquet")
    vocabulary = loaded[1]
    moved, _ = corpora.load(
        tmp_path, features, lambda _: vocabulary, TextSpace.load(world.encoder).encode
    )
    assert list(moved.uid) == list(loaded[0].uid)
    np.testing.assert_array_equal(moved.image_feature, loaded[0].image_feature)
    np.testing.assert_array_equal(moved.neighbours, loaded[0].neighbours)
    np.testing.assert_array_equal(moved.caption_neighbours, loaded[0].caption_neighbours)


def test_neighbours_outside_the_training_split_become_padding(world, tmp_path, loaded):
    test_row = world.table["split"].to_pylist().index("test")
    for file in ("neighbours.parquet", "caption_neighbours.parquet"):
        table = pq.read_table(world.index / file)
        near = [[test_row, -1, *row[2:]] for row in table["neighbours"].to_pylist()]
        pq.write_table(
            table.set_column(1, "neighbours", pa.array(near, NEIGHBOURS.field(1).type)),
            tmp_path / file,
        )
    for name in ("img_emb", "metadata", "ids.parquet"):
        (tmp_path / name).symlink_to(world.index / name)
    corpus, _ = corpora.load(
        tmp_path, world.features, lambda _: loaded[1], TextSpace.load(world.encoder).encode
    )
    assert (corpus.neighbours[:][:, :2] == -1).all()
    np.testing.assert_array_equal(corpus.neighbours[:][:, 2:], loaded[0].neighbours[:][:, 2:])


def test_shards_cover_the_corpus_in_order(world):
    shards = corpora.list_shards(world.index)
    assert shards == [("00000", 0, 19), ("00001", 19, 35)]


def test_no_training_pair_is_one_line(world, tmp_path):
    ids = pq.read_table(world.index / "ids.parquet")
    pq.write_table(
        ids.set_column(4, "split", pa.array(["test"] * len(ids))), tmp_path / "ids.parquet"
    )
    with pytest.raises(UserError, match="nothing to curate"):
        corpora.load(tmp_path, world.features, lambda _: None, lambda _: None)


def test_neighbours_that_stay_on_disk_are_those_of_a_table(world, tmp_path):
    for name in ("neighbours", "caption_neighbours"):
        table = corpora.read_neighbours(world.index / name, len(world.table))
        np.save(tmp_path / f"{name}.npy", table)
        found = corpora.read_neighbours(tmp_path / name, len(world.table))
        assert isinstance(found, np.memmap)
        np.testing.assert_array_equal(found, table)
    with pytest.raises(UserError, match=r"caption_neighbours.npy: not the neighbours of an index"):
        corpora.read_neighbours(tmp_path / "caption_neighbours", 7)
    np.save(tmp_path / "neighbours.npy", np.full((7, 2), 7, np.int32))
    with pytest.raises(UserError, match=r"neighbours.npy: not the neighbours of an index of 7"):
        corpora.read_neighbours(tmp_path / "neighbours", 7)
