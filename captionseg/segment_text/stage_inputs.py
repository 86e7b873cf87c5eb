"""What the stage reads of each image: its captions and concepts, pixels, features and regions."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.datasets.pair_tables import list_shards, read_shard
from captionseg.datasets.shard_images import read_images
from captionseg.dense_maps import DenseMaps, read_dense
from captionseg.encoders.encoder import Encoder
from captionseg.records import UserError
from captionseg.segment_text.curated_concepts import read_concepts
from captionseg.segment_text.given import Given, find_given, read_given, refuse_given
from captionseg.segment_text.maker import View
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.phrases import CaptionPhrases, collect_phrases, list_given_phrases
from captionseg.storage.packed import SUFFIX, PackedArray
from captionseg.text.referring import parse_references
from captionseg.text.vocabulary import read_default_stop

pc: Any = compute  # its functions are made when it is imported

CELLS_PER_IMAGE = 16

PLACED = ["url", "key", "width", "height", "original_width", "original_height"]
"""Columns of pairs that tell which picture of a file one is, and its size there."""

IMAGES = pa.schema(
    [
        ("uid", pa.string()),
        ("captions", pa.list_(pa.string())),
        ("concepts", pa.list_(pa.string())),
        (
            "given",  # what a file says of them, see captionseg.segment_text.given
            pa.list_(
                pa.struct(
                    [
                        ("text", pa.string()),
                        ("kind", pa.string()),
                        ("box", pa.list_(pa.float64(), 4)),
                        ("rle", pa.string()),
                        ("size", pa.list_(pa.int32(), 2)),
                    ]
                )
            ),
        ),
    ]
)
"""Images of a shard and what was written about them."""


@dataclass(frozen=True)
class Inputs:
    """Folders of earlier stages.

    Attributes:
        pairs: shards of pairs.
        captions: the caption stage's.
        supervision: the curate stage's; `params.curation` says whose concepts are taken.
        features: the index stage's.
        regions: the regions stage's, with labels/labels_NNNNN.arrow.
        lent: dense features that the index stage lends, if any; deleted when all is written.
    """

    pairs: Path
    captions: Path
    supervision: Path
    features: Path
    regions: Path
    lent: Path | None = None


class ShardImages(NamedTuple):
    """The images of a shard that are to have segments.

    Attributes:
        images: rows of schema IMAGES; pairs with the same image are one, under the uid of the
            first, with the captions and the concepts of all.
        pairs: number of pairs of the split.
        lost: how many of these curation has no row of.
        known: of how many the file of `precomputed` says something.
        url: of the first of these; empty without any.
    """

    images: pa.Table
    pairs: int
    lost: int
    known: int
    url: str


def open_given(params: SegmentTextParams) -> Mapping[str, list[Given]]:
    """Read what the file of `precomputed` says; empty for other grounders."""
    if params.grounder != "precomputed":
        return {}
    return read_given(Path(params.precomputed.file).expanduser())


def read_shard_images(
    inputs: Inputs, params: SegmentTextParams, given: Mapping[str, list[Given]], shard: str
) -> ShardImages:
    """Read the images of a shard.

    Args:
        inputs: folders.
        params: section `segment_text`.
        given: of `open_given`.
        shard: the shard.
    """
    pairs = read_shard(inputs.pairs, shard)
    chosen = pc.and_(pc.equal(pairs["status"], "success"), pc.equal(pairs["split"], params.split))
    pairs = pairs.filter(chosen)
    curated = read_concepts(inputs.supervision, params.curation, params.concepts, shard=shard)
    place = pc.index_in(pairs["uid"], value_set=curated["uid"].combine_chunks())
    rows = pairs.select(["uid", "caption", "sha256", *PLACED])
    rows = rows.append_column("concepts", curated["concepts"].take(place))
    url = rows["url"][0].as_py() if len(rows) else ""
    said = find_given(given, rows.select(PLACED).to_pylist()) if given else [[]] * len(rows)
    images = join_pairs(rows, said)
    return ShardImages(images, len(rows), place.null_count, sum(map(bool, said)), url)


def list_images(inputs: Inputs, params: SegmentTextParams) -> Iterator[tuple[str, pa.Table]]:
    """Yield the shards that have images for segments, with these (IMAGES); one shard is in memory.

    Raises:
        UserError: after the last shard, if there is no such image, curation left out some pairs, or
            the file of `precomputed` says nothing of any picture.
    """
    given, pairs, known, found, url = open_given(params), 0, 0, False, ""
    lost: dict[str, int] = {}
    for shard in list_shards(inputs.pairs):
        one = read_shard_images(inputs, params, given, shard)
        pairs, known, url = pairs + one.pairs, known + one.known, url or one.url
        if one.lost:
            lost[shard] = one.lost
        if len(one.images):
            found = True
            yield shard, one.images
    if not found:
        raise UserError(
            f"segment_text: no kept row of {params.curation!r} in split {params.split!r} of "
            f"{inputs.pairs}; check segment_text.split and segment_text.curation"
        )
    for shard, count in lost.items():
        raise UserError(
            f"{inputs.supervision / params.curation}: {count} pairs of shard {shard} have no row "
            "there; run `dvc repro curate`"
        )
    if given and not known:
        refuse_given(given, pairs, url, params.precomputed.file)


def join_pairs(rows: pa.Table, given: Sequence[list[dict[str, Any]]]) -> pa.Table:
    """The images of the pairs of a shard that have concepts, see IMAGES."""
    by_digest: dict[str, dict[str, Any]] = {}
    for row, said in zip(rows.to_pylist(), given, strict=True):
        if row["concepts"] is None:
            continue
        image = by_digest.setdefault(
            row["sha256"] or row["uid"],
            {"uid": row["uid"], "captions": [], "concepts": [], "given": said},
        )
        image["captions"].append(row["caption"] or "")
        image["concepts"] += row["concepts"]
    return pa.Table.from_pylist(list(by_digest.values()), schema=IMAGES)


def read_captions(
    images: Sequence[dict[str, Any]], generated: Mapping[str, dict[str, Any]] | None
) -> tuple[list[list[str]], Counter[str]]:
    """The captions of each image, the original ones first, and counts of the generated ones.

    Args:
        images: rows of `list_images` of a shard.
        generated: uid -> row of CAPTIONS; None where none were generated.
    """
    captions = [list(row["captions"]) for row in images]
    joined = sum(len(row["captions"]) - 1 for row in images)
    count = Counter(
        pairs_joined=joined, captions_generated=0, captions_failed=0, captions_missing=0
    )
    if generated is None:
        return captions, count
    for row, texts in zip(images, captions, strict=True):
        record = generated.get(row["uid"], {"status": "missing"})
        if record["status"] == "success":
            texts.append(record["generated"])
            count["captions_generated"] += 1
        else:
            count[f"captions_{record['status']}"] += 1
    return captions, count


def find_phrases(
    images: Sequence[dict[str, Any]], captions: Sequence[Sequence[str]], params: SegmentTextParams
) -> list[list[CaptionPhrases]]:
    """The captions of each image with their phrases and concepts; or what a file says of it."""
    if params.grounder == "precomputed":
        return [list_given_phrases(row["given"] or ()) for row in images]
    parse = functools.partial(parse_references, model=params.spacy_model)
    return collect_phrases(
        captions,
        [row["concepts"] for row in images],
        references=parse,
        expressions=params.referring,
        stop=read_default_stop() if params.drop_stop_nouns else (),
    )


def read_views(
    inputs: Inputs, shard: str, encoder: Callable[[], Encoder] | None = None
) -> Iterator[View]:
    """Yield the images of a shard with their features and regions, which are in the same order.

    Args:
        inputs: folders.
        shard: the shard.
        encoder: loads the encoder of the features, see `read_dense`; None reads no features.

    Raises:
        UserError: if features or regions are of other images.
    """
    labels = PackedArray(inputs.regions / "labels" / f"labels_{shard}{SUFFIX}")
    row, views = -1, read_without_labels(inputs, shard, encoder)
    for row, view in enumerate(views):
        if row < len(labels):
            yield replace(view, labels=labels[np.array([row])][0])
    if row + 1 != len(labels):
        raise UserError(
            f"shard {shard}: {row + 1} images, {len(labels)} of regions; run `dvc repro` to make "
            "them anew"
        )


def read_without_labels(
    inputs: Inputs, shard: str, encoder: Callable[[], Encoder] | None
) -> Iterator[View]:
    """Yield the images of `read_views` without regions."""
    if encoder is None:
        return itertools.starmap(View, read_images(inputs.pairs, shard))
    return itertools.starmap(
        View, read_dense(inputs.features, inputs.pairs, shard, encoder, lent=inputs.lent)
    )


def sample_cells(maps: DenseMaps, images: int, count: int, *, seed: int) -> np.ndarray:
    """Draw dense features evenly over images.

    Args:
        maps: dense features of the images.
        images: number of images.
        count: most cells to draw.
        seed: of the draw.

    Returns:
        [at most count, F].
    """
    rng = np.random.default_rng(seed)
    spread = min(images, -(-count // CELLS_PER_IMAGE))
    found = maps[np.linspace(0, images, spread, endpoint=False).astype(int)]
    cells = found.reshape(len(found), -1, found.shape[-1])
    drawn = np.stack([rng.permutation(cells.shape[1])[:CELLS_PER_IMAGE] for _ in found])
    return np.take_along_axis(cells, drawn[..., None], axis=1).reshape(-1, found.shape[-1])[:count]
