"""What the stage reads of each image: its captions and concepts, pixels, features and regions."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute

from captionseg.datasets.ids import count_shard_rows
from captionseg.datasets.shard_images import read_images
from captionseg.dense_maps import DenseMaps, read_dense
from captionseg.encoders.encoder import Encoder
from captionseg.records import UserError
from captionseg.segment_text.curated_concepts import read_concepts
from captionseg.segment_text.given import find_given, read_given
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


def list_images(pairs: pa.Table, inputs: Inputs, params: SegmentTextParams) -> dict[str, pa.Table]:
    """shard -> every image that is to have segments (IMAGES), in the order of the shards.

    Pairs of a shard with the same image are one row, under the uid of the first, with the captions
    and the concepts of all.

    Args:
        pairs: of `read_pairs(inputs.pairs)`.
        inputs: folders.
        params: section `segment_text`.

    Raises:
        UserError: if there is no such image, or curation left out some pairs.
    """
    supervision, images = inputs.supervision, {}
    curated = read_concepts(supervision, params.curation, params.concepts)
    pairs = pairs.filter(pc.equal(pairs["split"], params.split))
    given = find_given_phrases(pairs, params)
    rows = pairs.select(["uid", "caption", "shard", "sha256"])
    place = pc.index_in(rows["uid"], value_set=curated["uid"].combine_chunks())
    rows = rows.append_column("concepts", curated["concepts"].take(place))
    lost = rows["shard"].filter(pc.is_null(place))
    start = 0
    for shard, count in count_shard_rows(rows).items():
        part = rows.slice(start, count)
        if len(part := part.filter(pc.is_valid(part["concepts"]))):
            images[shard] = join_pairs(part, given)
        start += count
    if not images:
        raise UserError(
            f"segment_text: no kept row of {params.curation!r} in split {params.split!r} of "
            f"{inputs.pairs}; check segment_text.split and segment_text.curation"
        )
    if len(lost):
        shard = lost[0].as_py()
        raise UserError(
            f"{supervision / params.curation}: {pc.sum(pc.equal(lost, shard)).as_py()} pairs of "
            f"shard {shard} have no row there; run `dvc repro curate`"
        )
    return images


def find_given_phrases(
    pairs: pa.Table, params: SegmentTextParams
) -> dict[str, list[dict[str, Any]]]:
    """uid -> what the file of `precomputed` says of the pair's image; empty for other grounders."""
    if params.grounder != "precomputed":
        return {}
    file = params.precomputed.file
    found = find_given(read_given(Path(file).expanduser()), pairs.select(PLACED).to_pylist(), file)
    return dict(zip(pairs["uid"].to_pylist(), found, strict=True))


def join_pairs(rows: pa.Table, given: Mapping[str, list[dict[str, Any]]]) -> pa.Table:
    """The images of the pairs of a shard, see IMAGES."""
    by_digest: dict[str, dict[str, Any]] = {}
    for row in rows.to_pylist():
        image = by_digest.setdefault(
            row["sha256"] or row["uid"],
            {"uid": row["uid"], "captions": [], "concepts": [], "given": given.get(row["uid"])},
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
