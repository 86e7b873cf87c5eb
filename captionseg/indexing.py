"""Computes features, embeddings, indexes and neighbours of pairs, shard by shard, in
clip-retrieval's layout.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute
from safetensors import SafetensorError
from threadpoolctl import threadpool_limits

from captionseg.datasets.ids import count_shard_rows, number_pictures
from captionseg.datasets.shard_images import read_images
from captionseg.embedding import align, write_rows
from captionseg.encoders.encoder import Encoder, ReducibleEncoder
from captionseg.encoders.reduction import ReducedEncoder, Reduction, fit_reduction
from captionseg.encoders.text_space import TextSpace
from captionseg.extraction import extract
from captionseg.feature_reuse import MADE_OF, Stored, describe, find_lent, remove_lent, take_over
from captionseg.index_params import IndexParams
from captionseg.neighbours import write_index, write_searches
from captionseg.records import CAPTION_NEIGHBOURS, NEIGHBOURS, SIMILARITIES, UserError, one_line
from captionseg.retrieval.embedding_folder import (
    EmbeddingFolder,
    find_embeddings,
    replace_embeddings,
)
from captionseg.runtime.fan_out import PerProcess
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.storage.folders import find_incomplete
from captionseg.storage.writing import write_json

pc: Any = compute  # its functions are made when it is imported
log = logging.getLogger(__name__)

COLUMNS = ("uid", "key", "url", "caption", "split", "sha256")
"""Columns of PAIRS that `build` reads."""


def encoder_of(params: IndexParams, folder: Path) -> Encoder:
    """Return the encoder with the reduction in its folder, if any."""
    encoder, reduction = params.build(), Reduction.load(folder)
    return encoder if reduction is None else ReducedEncoder(encoder, reduction)


def with_reduction(
    encoder: ReducibleEncoder, pairs: Path, shard: str, params: IndexParams, folder: Path
) -> Encoder:
    """Return the encoder with reduced dense features; the reduction is fitted once, on images of
    the first shard.
    """
    if encoder.aligned or not params.dense_width:
        return encoder
    try:
        reduction = Reduction.load(folder)
    except SafetensorError as error:
        log.warning(
            "%s: the reduction cannot be read (%s) and is fitted again", folder, one_line(error)
        )
        reduction = None
    if reduction is None:
        images = [
            image for _, image in itertools.islice(read_images(pairs, shard), params.dense_sample)
        ]
        reduction = fit_reduction(encoder, images, params.dense_width)
        reduction.save(folder)
    return ReducedEncoder(encoder, reduction)


def open_embeddings(
    params: IndexParams, pairs: pa.Table, encoder: Encoder
) -> tuple[EmbeddingFolder, np.ndarray] | None:
    """The folder that `embeddings` names, if it does, and its row of each pair."""
    if not params.embeddings:
        return None
    return find_embeddings(
        Path(params.embeddings).expanduser(),
        pairs,
        aligned=encoder.aligned,
        width=encoder.text(["a picture"]).shape[1],
    )


def rows_of_all(pairs: pa.Table, features: Path, index: Path, stored: Stored) -> dict[Path, int]:
    """Return every table and array of the stage with its expected number of rows."""
    names = ("ids.parquet", NEIGHBOURS, SIMILARITIES, CAPTION_NEIGHBOURS)
    expected = {index / name: len(pairs) for name in names}
    for number, (shard, count) in enumerate(count_shard_rows(pairs).items()):
        expected |= stored.files_of(features, shard, count)
        expected |= {
            index / name / f"{name}_{number:05d}.{kind}": count
            for name, kind in (("img_emb", "npy"), ("text_emb", "npy"), ("metadata", "parquet"))
        }
    return expected


def warn_of_shared_pictures(pairs_folder: Path, pairs: pa.Table) -> None:
    """Warn about pictures that are in the training split and also in another split."""
    train, picture = pc.equal(pairs["split"], "train").to_numpy(), number_pictures(pairs)
    repeated = np.flatnonzero(np.isin(picture, picture[train]) & ~train)
    if len(repeated):
        first = pairs.slice(int(repeated[0]), 1).to_pylist()[0]
        log.warning(
            "%s: %d of %d pairs of other splits show a picture that is also in the training split, "
            "such as %s of %s; scores on them are too good, so remove the copies from the source",
            pairs_folder,
            len(repeated),
            int((~train).sum()),
            first["uid"],
            first["split"],
        )


def build(  # noqa: PLR0913 - an argument for each path
    pairs_folder: Path,
    pairs: pa.Table,
    params: IndexParams,
    *,
    features: Path,
    index: Path,
    seed: int,
    regions: Path | None = None,
    runtime: RuntimeParams = HERE,
    earlier: Path | None = None,
    lent: Path | None = None,
) -> dict[str, float]:
    """Run the stage; a killed run resumes from its last finished shard.

    Args:
        pairs_folder: img2dataset shards.
        pairs: COLUMNS of their successful rows, and `shard`, in shard order.
        params: section `index`.
        features: output folder: features by shard, and the encoder with its alignments.
        index: output folder: clip-retrieval's layout with ids and neighbours.
        seed: seed of folds and alignments.
        regions: folder of the regions of these pairs, which features are pooled over; None pools
            none.
        runtime: how features and searches are distributed; the rest are matrix products on all
            cores.
        earlier: features of an earlier run; those of equal shards are taken over.
        lent: folder in which dense features are lent to segment_text; None lends none.

    Raises:
        UserError: if the training split has no pairs.
    """
    if not pc.any(pc.equal(pairs["split"], "train")).as_py():
        raise UserError(
            f"{pairs_folder}: no pairs in the training split; nothing to align, search or curate"
        )
    warn_of_shared_pictures(pairs_folder, pairs)
    frozen = params.build()
    given = open_embeddings(params, pairs, frozen)
    stored = Stored(regions, dense=params.keep_dense, cells=not frozen.aligned)
    taken = reuse_features(pairs, params, features, stored, earlier)
    stored = lend_dense(pairs, params, features, stored, lent)
    first = pairs["shard"][0].as_py()
    encoder = with_reduction(frozen, pairs_folder, first, params, features / "encoder")
    each = PerProcess(functools.partial(encoder_of, params, features / "encoder"), made=encoder)
    extract(
        pairs, pairs_folder, each, features, stored=stored, device=params.device, runtime=runtime
    )
    measures = write_embeddings(
        pairs, encoder, params, given, features=features, index=index, seed=seed, runtime=runtime
    )
    if reason := find_incomplete(rows_of_all(pairs, features, index, stored)):
        raise UserError(f"index: {reason}; no output was written, run it again")
    return {
        "pairs": float(len(pairs)),
        **({"reused_shards": float(taken)} if taken else {}),
        **({"reused_embeddings": float((given[1] >= 0).sum())} if given else {}),
        **measures,
    }


def reuse_features(
    pairs: pa.Table, params: IndexParams, features: Path, stored: Stored, earlier: Path | None
) -> int:
    """Take over features of an earlier run, and write what those of this run are made of.

    Returns:
        the number of shards that were taken over.
    """
    made_of = describe(pairs, params, stored.regions)
    taken = take_over(earlier, features, pairs, made_of, stored) if earlier else 0
    write_json(made_of, features / MADE_OF)
    return taken


def lend_dense(
    pairs: pa.Table, params: IndexParams, features: Path, stored: Stored, lent: Path | None
) -> Stored:
    """Return what is stored where dense features of few pictures are lent to segment_text."""
    if not lent:
        return stored
    remove_lent(lent, mine := find_lent(lent, features))
    if params.keep_dense or len(pairs) > params.lend_dense:
        return stored
    return dataclasses.replace(stored, lent=mine)


def write_embeddings(
    pairs: pa.Table,
    encoder: Encoder,
    params: IndexParams,
    given: tuple[EmbeddingFolder, np.ndarray] | None,
    *,
    features: Path,
    index: Path,
    seed: int,
    runtime: RuntimeParams,
) -> dict[str, float]:
    """Align the features of images and captions, and write the index with its searches.

    Args:
        pairs: see `build`.
        encoder: of the features.
        params: section `index`.
        given: see `open_embeddings`.
        features: folder with the features of all pairs.
        index: output folder.
        seed: seed of folds and alignments.
        runtime: how searches are distributed.

    Returns:
        embedding_dimensions, and measures of the searches.
    """
    with open_scratch(index) as scratch:
        # numpy's products; those of torch come out the same anyway
        with threadpool_limits(1, user_api="blas"):
            file = scratch / "image.npy"
            found = align(pairs, features, encoder, params, file=file, seed=seed)
        image = found.image
        if given:
            file = scratch / "given.npy"
            image = write_rows(replace_embeddings(*given, image), image, file)
        save_space(found.space, params, features / "encoder")
        write_index(pairs, image, found.text, found.fold, index)
        measures = write_searches(
            pairs, file, found.text, params=params, features=features, index=index, runtime=runtime
        )
    return {"embedding_dimensions": float(image.width), **measures}


@contextlib.contextmanager
def open_scratch(folder: Path) -> Iterator[Path]:
    """Yield a folder for files that are read in the block only; that of a killed run is deleted by
    `remove_parts`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=".part", dir=folder) as scratch:
        yield Path(scratch)


def save_space(space: TextSpace, params: IndexParams, folder: Path) -> None:
    """Save the space of images and captions, with the fields of the encoder that it needs."""
    chosen = getattr(params, params.encoder)
    space.save(
        folder,
        encoder=params.encoder,
        params=dataclasses.asdict(chosen),
        precision=params.precision,
    )
