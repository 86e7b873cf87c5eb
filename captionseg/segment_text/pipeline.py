"""pairs -> segments with all texts that name them, shard by shard. The only part of segment_text
that knows shards.

NNNNN.parquet of schema SEGMENTS, and NNNNN_stats.json with what was lost on the way, written last:
a shard that has it is finished.
"""

from __future__ import annotations

import errno
import functools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from captionseg.arrays import ShardedArray
from captionseg.captioners.corpus import Captions
from captionseg.datasets.pair_tables import read_pairs
from captionseg.datasets.shard_images import read_images
from captionseg.grounding.relevance import JointSpace
from captionseg.records import SEGMENTS, UserError, one_line
from captionseg.runtime.fan_out import PerProcess, spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.segment_text.concepts import read_concepts
from captionseg.segment_text.counts import summarize
from captionseg.segment_text.maker import Maker, View
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.phrases import CaptionPhrases, collect_phrases
from captionseg.storage.reading import read_array
from captionseg.storage.writing import remove_parts, write_json, write_table
from captionseg.text.referring import parse_references
from captionseg.text.vocabulary import read_default_stop

CELLS_AN_IMAGE = 16
LOST = ("boxes_beyond_limit", "masks_empty", "masks_too_small", "masks_unstable", "masks_merged")
"""What becomes of boxes that become no segment, see captionseg.segment_text.counts."""


@dataclass(frozen=True)
class Inputs:
    """What earlier stages left.

    Attributes:
        pairs: shards of pairs.
        captions: the caption stage's.
        supervision: the curate stage's; `params.curation` says whose concepts are taken.
        features: the index stage's, with dense/dense_NNNNN.npy.
        regions: the regions stage's, with labels/labels_NNNNN.npy.
    """

    pairs: Path
    captions: Path
    supervision: Path
    features: Path
    regions: Path


def segment(
    inputs: Inputs,
    params: SegmentTextParams,
    *,
    space: Callable[[], JointSpace],
    segments: Path,
    seed: int,
    runtime: RuntimeParams = HERE,
) -> dict[str, float]:
    """The whole stage; a killed run goes on from its last finished shard.

    Args:
        inputs: folders.
        params: section `segment_text`.
        space: loads that of the index, for grounders that are built on it; called by each process.
        segments: out.
        seed: of the cells that phrases are standardised over.
        runtime: what shards are spread over.

    Returns:
        see `captionseg.segment_text.counts.summarize`.

    Raises:
        UserError: if there is nothing to make segments of.
    """
    shards = list_images(inputs.pairs, params, inputs.supervision)
    generated = Captions.load(inputs.captions)
    missing = [shard for shard, images in shards.items() if find_flaw(segments, shard, images)]
    jobs = [Job(shard, shards[shard], generated.rows(shard)) for shard in missing]
    check_captions(jobs, generated)
    rows = Counter(read_pairs(inputs.pairs)["shard"].to_pylist())
    cells = sample_cells(inputs.features, params.cells, rows, seed=seed)
    work = functools.partial(
        segment_shard,
        inputs,
        params,
        PerProcess(functools.partial(build_maker, params, space, cells)),
        segments,
    )
    with tqdm(total=sum(len(job.images) for job in jobs), desc="segment_text", unit="img") as bar:
        for count in spread(work, jobs, runtime, device=params.device):
            bar.update(count)
    remove_parts(segments)
    for shard, images in shards.items():
        if reason := find_flaw(segments, shard, images):
            raise UserError(
                f"segment_text: shard {shard}: {reason}; nothing is put in place, run it again"
            )
    return summarize(segments)


def find_flaw(segments: Path, shard: str, images: Sequence[dict[str, Any]]) -> str:
    """What is wrong with a shard of segments of these images, in words; empty where it is whole."""
    try:
        count = Counter(json.loads((segments / f"{shard}_stats.json").read_text()))
        uids = pq.ParquetFile(segments / f"{shard}.parquet").read(["uid"])["uid"].to_pylist()
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        return f"its parquet or its stats are missing, or torn ({one_line(error)})"
    rows = count["boxes"] - sum(count[name] for name in LOST)
    if len(uids) != rows:
        return f"{len(uids)} rows, expected {rows}"
    if count["images"] != len(images) or not {*uids} <= {row["uid"] for row in images}:
        return f"it is of other images than the {len(images)} of these pairs"
    return ""


@dataclass(frozen=True)
class Job:
    """A shard, its images as `list_images` has them, and captions that were generated for them."""

    shard: str
    images: list[dict[str, Any]]
    generated: dict[str, dict[str, Any]] | None

    def __str__(self) -> str:
        return f"segment_text: shard {self.shard}"


def check_captions(jobs: Sequence[Job], generated: Captions) -> None:
    """Raises UserError if some pictures have no generated caption, nor a word why: failures have a
    row as well.

    Where none has one, another split was captioned; that is counted as missing.
    """
    lost = {
        job.shard: sum(row["uid"] not in job.generated for row in job.images)
        for job in jobs
        if job.generated is not None
    }
    if 0 < sum(lost.values()) < sum(len(job.images) for job in jobs):
        shard = next(shard for shard, count in lost.items() if count)
        raise UserError(
            f"{generated.folder}: {lost[shard]} pictures of shard {shard} have no row there; run "
            "`dvc repro caption`, which asks for what is missing"
        )


def build_maker(
    params: SegmentTextParams, space: Callable[[], JointSpace], cells: np.ndarray
) -> Maker:
    """What makes the segments, in this process."""
    return params.build(space(), cells)


def segment_shard(
    inputs: Inputs, params: SegmentTextParams, maker: Callable[[], Maker], segments: Path, job: Job
) -> int:
    """One shard, its stats last. Returns its number of images."""
    captions, count = read_captions(job.images, job.generated)
    # products are small: more threads than one only wait for one another (5 to 45 ms an image on
    # busy cores); and whoever makes a shard rounds the same
    with threadpool_limits(1):
        phrases = dict(
            zip(
                (row["uid"] for row in job.images),
                find_phrases(job.images, captions, params),
                strict=True,
            )
        )
        maker().grounder.prepare(
            sorted({p.text for row in phrases.values() for caption in row for p in caption.phrases})
        )
        rows = []
        for view in read_views(inputs, job.shard):
            if view.uid in phrases:
                more, lost = maker().segments(view, phrases[view.uid])
                rows += more
                count.update(lost)
    count.update(segments=len(rows), texts=sum(len(row["texts"]) for row in rows))
    write_table(pa.Table.from_pylist(rows, schema=SEGMENTS), segments / f"{job.shard}.parquet")
    write_json(dict(count), segments / f"{job.shard}_stats.json")
    return len(job.images)


def list_images(
    pairs: Path, params: SegmentTextParams, supervision: Path
) -> dict[str, list[dict[str, Any]]]:
    """shard -> {uid, captions, concepts} of every image that is to have segments, in the order of
    the shards.

    Pairs of a shard that have the same picture are one image, under the uid of the first: with the
    captions of all, and the concepts of all.
    """
    concepts, lost = read_concepts(supervision, params.curation, params.concepts), Counter[str]()
    out: dict[str, list[dict[str, Any]]] = defaultdict(list)
    known: dict[tuple[str, str], dict[str, Any]] = {}
    for row in read_pairs(pairs).select(["uid", "caption", "split", "shard", "sha256"]).to_pylist():
        uid = row["uid"]
        if row["split"] != params.split:
            continue
        if (wanted := concepts.get(uid)) is None:
            lost[row["shard"]] += uid not in concepts
            continue
        picture = row["shard"], row["sha256"] or uid
        if picture not in known:
            known[picture] = {"uid": uid, "captions": [], "concepts": []}
            out[row["shard"]].append(known[picture])
        known[picture]["captions"].append(row["caption"] or "")
        known[picture]["concepts"] += wanted
    if not out:
        raise UserError(
            f"segment_text: no kept row of {params.curation!r} in split {params.split!r} of "
            f"{pairs}; check segment_text.split and segment_text.curation"
        )
    if shard := next((shard for shard, rows in lost.items() if rows), ""):
        raise UserError(
            f"{supervision / params.curation}: {lost[shard]} pairs of shard {shard} have no row "
            "there; run `dvc repro curate`"
        )
    return out


def read_captions(
    images: Sequence[dict[str, Any]], generated: Mapping[str, dict[str, Any]] | None
) -> tuple[list[list[str]], Counter[str]]:
    """The captions of each image, the original ones first, and what is to be counted of the
    generated ones.

    Args:
        images: of a shard, as `list_images` has them.
        generated: uid -> row of CAPTIONS; None where nobody generated any.
    """
    captions = [list(row["captions"]) for row in images]
    joined = sum(len(row["captions"]) - 1 for row in images)
    count = Counter(
        pairs_joined=joined, captions_generated=0, captions_failed=0, captions_missing=0
    )
    if generated is None:
        return captions, count
    for row, texts in zip(images, captions, strict=True):
        found = generated.get(row["uid"], {"status": "missing"})
        if found["status"] == "success":
            texts.append(found["generated"])
            count["captions_generated"] += 1
        else:
            count[f"captions_{found['status']}"] += 1
    return captions, count


def find_phrases(
    images: Sequence[dict[str, Any]], captions: Sequence[Sequence[str]], params: SegmentTextParams
) -> list[list[CaptionPhrases]]:
    """The captions of each image with what to look for."""
    parse = functools.partial(parse_references, model=params.spacy_model)
    return collect_phrases(
        captions,
        [row["concepts"] for row in images],
        references=parse,
        expressions=params.referring,
        stop=read_default_stop() if params.drop_stop_nouns else (),
    )


def read_views(inputs: Inputs, shard: str) -> Iterator[View]:
    """Images of a shard with their features and regions, which earlier stages left in the same
    order.

    Raises:
        UserError: if those are of other images.
    """
    dense = read_array(inputs.features / "dense" / f"dense_{shard}.npy")
    labels = read_array(inputs.regions / "labels" / f"labels_{shard}.npy")
    row = -1
    for row, (uid, image) in enumerate(read_images(inputs.pairs, shard)):
        if row < min(len(dense), len(labels)):
            yield View(uid, image, dense[row], labels[row])
    if not row + 1 == len(dense) == len(labels):
        raise UserError(
            f"shard {shard}: {row + 1} images, {len(dense)} rows of features, {len(labels)} of "
            "regions; run `dvc repro` to make them anew"
        )


def sample_cells(features: Path, count: int, rows: Mapping[str, int], *, seed: int) -> np.ndarray:
    """[at most count, F] dense features of cells drawn evenly over the images of all shards, of so
    many `rows` each.
    """
    maps = ShardedArray.of_folder(features / "dense", rows)
    rng = np.random.default_rng(seed)
    images = np.linspace(
        0, len(maps), min(len(maps), -(-count // CELLS_AN_IMAGE)), endpoint=False
    ).astype(int)
    cells = maps[images].reshape(len(images), -1, maps.shape[-1])
    drawn = np.stack([rng.permutation(cells.shape[1])[:CELLS_AN_IMAGE] for _ in images])
    return np.take_along_axis(cells, drawn[..., None], axis=1).reshape(-1, maps.shape[-1])[:count]
