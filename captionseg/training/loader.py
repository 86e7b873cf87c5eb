"""Loads what a recipe trains on: supervision, features, pictures and texts.

Columns of the supervision are memory maps of files that the first rank writes, see
`captionseg.training.preparation`. On machines that do not see its files, the first of each writes
them again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from captionseg.arrays import ShardedArray
from captionseg.datasets.ids import count_index_shards, number_shards
from captionseg.dense_maps import has_dense
from captionseg.encoders.text_space import TextSpace
from captionseg.inference.prepared_folders import PreparedFolders
from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.runtime import ranks
from captionseg.runtime.launch import Place
from captionseg.segmenters.region_files import RegionFeatures
from captionseg.storage.reading import read_array, read_json
from captionseg.text.prompts import read_templates
from captionseg.text.vocabulary import Vocabulary
from captionseg.training.preparation import WIDTHS, Encode, Sources, prepare, read_vocabulary
from captionseg.training.segment_files import MaskForm, RowFinder, map_segments, write_segments
from captionseg.training.stored_columns import prepare_folder, read_lists, read_texts
from captionseg.training.training_set import Sentences, TrainingSet

ALONE = Place()


@dataclass(frozen=True)
class Folders:
    """Folders of the stages that a recipe reads.

    Attributes:
        prepared: of index, regions and features.
        supervision: of the curate stage.
        truth: of true masks.
        segments: of the segment_text stage; None for models that read none.
        columns: where the columns of the supervision are kept, for a run that is resumed; its
            contents must be of these folders. None takes a temporary folder.
    """

    prepared: PreparedFolders
    supervision: Path
    truth: Path
    segments: Path | None = None
    columns: Path | None = None


def load(
    folders: Folders,
    *,
    curation: str,
    archive: str,
    alike: float = 0.0,
    reads: InputSpec | None = None,
    encode: Encode | None = None,
    device: str = "auto",
    place: Place = ALONE,
) -> TrainingSet:
    """Load what a recipe trains on; every rank calls it.

    Args:
        folders: of the earlier stages.
        curation: rule whose concepts are drawn.
        archive: rule whose archive masks negatives.
        alike: see `find_alike`; concepts like one of an image's archive are no negatives either.
        reads: what the model reads; None reads regions and embeddings.
        encode: texts -> embeddings, for masked captions of models that read embeddings.
        device: of the frozen encoder, where it is part of the model.
        place: of this rank.

    Raises:
        UserError: if a rule has not been run, or kept nothing.
    """
    reads, prepared = reads or InputSpec(), folders.prepared
    sources = Sources(prepared.index, folders.supervision, curation, archive, alike, reads)
    with share_folder(folders.columns, place) as columns:
        for _ in take_turns(place):
            prepare(sources, columns, encode)
        data = map_columns(sources, prepared, columns, device=device)
        if reads.tokens:
            data = add_sentences(data, columns, folders.supervision / "vocabulary")
        if reads.segments:
            data = add_segments(data, sources, folders, columns, place)
        ranks.share(None)  # waits until every rank has mapped the files
    return data


@contextlib.contextmanager
def share_folder(folder: Path | None, place: Place) -> Iterator[Path]:
    """Yield a folder, the same on all ranks; None makes one that lasts as long as the block.

    Files that are mapped in the block stay readable.
    """
    if folder is not None:
        yield folder
        return
    made = ranks.share(tempfile.mkdtemp(prefix="captionseg-") if place.main else "")
    try:
        yield Path(made) / "columns"
    finally:
        if place.local == 0:
            shutil.rmtree(made, ignore_errors=True)


def take_turns(place: Place) -> Iterator[None]:
    """Yield once to the first rank, and then to the first rank of each machine, while others
    wait.
    """
    for mine in (place.main, place.local == 0):
        if mine:
            yield
        ranks.share(None)


def map_columns(
    sources: Sources, prepared: PreparedFolders, columns: Path, *, device: str
) -> TrainingSet:
    """Return the training set without segments and sentences.

    Args:
        sources: what the columns are made from.
        prepared: features and pictures.
        columns: folder of the columns.
        device: of the frozen encoder.
    """
    reads, index, shards = sources.reads, prepared.index, count_index_shards(prepared.index)
    concepts, embedding = read_vocabulary(sources.supervision / "vocabulary")
    width = read_json(columns / WIDTHS)
    drawn = read_lists(
        columns, "drawn", width["drawn"], {"concept": -1, "weight": 0.0, "cluster": -1}
    )
    lists = {
        name: read_lists(columns, name, width[name], {"concept": -1})["concept"]
        for name in ("archive", "named", "target")
        if name in width
    }
    masked = columns / "masked_embedding.npy"
    regions = RegionFeatures.of_folders(prepared.regions, prepared.features, shards)
    return TrainingSet(
        read_array(columns / "row.npy"),
        regions,
        regions.count,
        ShardedArray.of_folder(index / "text_emb", number_shards(shards)),
        concepts,
        embedding,
        drawn["concept"],
        drawn["weight"],
        drawn["cluster"],
        lists["archive"],
        lists["named"],
        masked=read_array(masked) if masked.exists() else None,
        masked_target=lists.get("target"),
        dense=map_dense(prepared.features, shards) if reads.dense else None,
        pictures=prepared.pictures() if reads.picture else None,
        space=TextSpace.load(prepared.encoder, device=device) if reads.space else None,
        shards=np.cumsum([0, *shards.values()]),
        reads=reads,
    )


def map_dense(features: Path, shards: Mapping[str, int]) -> ShardedArray:
    """Map the dense features of all rows of the index.

    Raises:
        UserError: if they are not stored.
    """
    if not has_dense(features):
        raise UserError(
            f"{features / 'dense'}: does not exist, and this model reads dense features in every "
            "step; set index.keep_dense: true and run `dvc repro index`"
        )
    return ShardedArray.of_folder(features / "dense", shards)


def add_sentences(data: TrainingSet, columns: Path, vocabulary: Path) -> TrainingSet:
    """Add the captions to a training set, as words and masked, as far as the model reads them.

    Args:
        data: the training set.
        columns: folder of the columns.
        vocabulary: folder of the vocabulary.
    """
    words = None
    if data.reads.words:
        words = Vocabulary(tuple(data.concepts), read_json(vocabulary / "lemma.json"))
    masked = read_texts(columns, "masked") if data.reads.masking else None
    sentences = Sentences(read_texts(columns, "caption"), masked, words)
    return dataclasses.replace(data, sentences=sentences)


def add_segments(
    data: TrainingSet, sources: Sources, folders: Folders, columns: Path, place: Place
) -> TrainingSet:
    """Add the segments of the pairs of a training set, with their texts.

    Args:
        data: the training set, with its encoder.
        sources: what the columns are made from.
        folders: of the earlier stages.
        columns: folder of the columns; segments are in a folder beside it.
        place: of this rank.

    Raises:
        UserError: if there is no such folder, or none of the pairs has a segment.
    """
    reads, made = data.reads, columns.with_name(f"{columns.name}_segments")
    if folders.segments is None:
        raise UserError(
            "this model learns from segments and needs data/segments; run `dvc repro segment_text`"
        )
    grid = (reads.cells, reads.cells) if data.dense is None else data.dense.shape[1:3]
    form = MaskForm((grid[0], grid[1]), coded=data.dense is None)
    for _ in take_turns(place):
        assert data.space is not None
        with prepare_folder(made, {**sources.describe(), "grid": list(grid)}) as part:
            if part is not None:
                write_segments(
                    folders.segments,
                    part,
                    RowFinder(sources.index, data.rows),
                    len(data.caption_embedding),
                    form=form,
                    encode=data.space.encode,
                    kinds=reads.kinds,
                    templates=read_templates(reads.prompts),
                )
    return dataclasses.replace(data, segments=map_segments(made, form))
