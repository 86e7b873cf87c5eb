"""Makes segments with texts for all pairs, shard by shard.

Writes NNNNN.parquet of schema SEGMENTS, and NNNNN_stats.json with counts last: a shard that has it
is finished.
"""

from __future__ import annotations

import errno
import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from captionseg.captioners.corpus_captions import Captions
from captionseg.datasets.pair_tables import count_pairs
from captionseg.datasets.random_access import Pictures
from captionseg.dense_maps import open_dense
from captionseg.encoders.encoder import Encoder
from captionseg.encoders.text_space import load_encoder
from captionseg.grounding.relevance import JointSpace
from captionseg.records import SEGMENTS, UserError, one_line
from captionseg.runtime.fan_out import PerProcess, spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.segment_text.counts import summarize
from captionseg.segment_text.given import Given
from captionseg.segment_text.maker import Maker
from captionseg.segment_text.params import SegmentTextParams
from captionseg.segment_text.stage_inputs import (
    Inputs,
    find_phrases,
    list_images,
    open_given,
    read_captions,
    read_shard_images,
    read_views,
    sample_cells,
)
from captionseg.storage.writing import remove_parts, write_json, write_table

pc: Any = compute  # its functions are made when it is imported

LOST = ("boxes_beyond_limit", "masks_empty", "masks_too_small", "masks_unstable", "masks_merged")
"""Counts of boxes that become no segment, see captionseg.segment_text.counts."""


def segment(
    inputs: Inputs,
    params: SegmentTextParams,
    *,
    space: Callable[[], JointSpace],
    segments: Path,
    seed: int,
    runtime: RuntimeParams = HERE,
) -> dict[str, float]:
    """Run the whole stage; a killed run continues after its last finished shard.

    At the end dense features that index lent it are deleted.

    Args:
        inputs: folders.
        params: section `segment_text`.
        space: loads that of the index, for grounders that are built on it; called by each process.
        segments: folder to write to.
        seed: of the cells that phrases are standardised over.
        runtime: what shards are spread over.

    Returns:
        see `captionseg.segment_text.counts.summarize`.

    Raises:
        UserError: if there is nothing to make segments of.
    """
    generated = Captions.load(inputs.captions)
    jobs = list_jobs(inputs, params, segments, generated)
    encoder, cells = None, None
    if params.reads_dense and jobs:
        encoder = PerProcess(functools.partial(load_encoder, inputs.features / "encoder"))
        cells = draw_cells(inputs, params, encoder, seed=seed)
    work = functools.partial(
        segment_shard,
        inputs,
        params,
        PerProcess(functools.partial(build_maker, params, space, cells)),
        encoder,
        segments,
        generated,
        PerProcess(functools.partial(open_given, params)),
    )
    with tqdm(total=sum(job.images for job in jobs), desc="segment_text", unit="img") as bar:
        for count in spread(work, jobs, runtime, device=params.device):
            bar.update(count)
    remove_parts(segments)
    for shard, images in list_images(inputs, params):
        if reason := find_flaw(segments, shard, images):
            raise UserError(
                f"segment_text: shard {shard}: {reason}; nothing is put in place, run it again"
            )
    if inputs.lent:
        shutil.rmtree(inputs.lent, ignore_errors=True)
    return summarize(segments)


def draw_cells(
    inputs: Inputs, params: SegmentTextParams, encoder: Callable[[], Encoder], *, seed: int
) -> np.ndarray:
    """Draw the cells of dense features that phrases are standardised over."""
    rows = count_pairs(inputs.pairs)
    maps = open_dense(
        inputs.features,
        rows,
        pictures=functools.partial(Pictures.of_pairs, inputs.pairs),
        encoder=encoder,
        lent=inputs.lent,
    )
    return sample_cells(maps, sum(rows.values()), params.cells, seed=seed)


def find_flaw(segments: Path, shard: str, images: pa.Table) -> str:
    """What is wrong with a shard of segments, in words; empty if it is complete.

    Args:
        segments: folder of shards.
        shard: its name.
        images: that it should be of, see `list_images`.
    """
    try:
        count = Counter(json.loads((segments / f"{shard}_stats.json").read_text(encoding="utf-8")))
        uids = pq.ParquetFile(segments / f"{shard}.parquet").read(["uid"])["uid"]
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        return f"its parquet or its stats are missing, or torn ({one_line(error)})"
    rows = count["boxes"] - sum(count[name] for name in LOST)
    if len(uids) != rows:
        return f"{len(uids)} rows, expected {rows}"
    known = pc.all(pc.is_in(uids, value_set=images["uid"].combine_chunks())).as_py()
    if count["images"] != len(images) or known is False:
        return f"it is of other images than the {len(images)} of these pairs"
    return ""


@dataclass(frozen=True)
class Job:
    """A shard that has to be made, and its number of images."""

    shard: str
    images: int

    def __str__(self) -> str:
        return f"segment_text: shard {self.shard}"


def list_jobs(
    inputs: Inputs, params: SegmentTextParams, segments: Path, generated: Captions
) -> list[Job]:
    """List the shards that are not finished, and check that their images have generated captions,
    or rows that say why not.

    If no image has one, another split was captioned; these are counted as missing.

    Raises:
        UserError: if only some images have none, and as `list_images`.
    """
    jobs, missing = [], {}
    for shard, images in list_images(inputs, params):
        if not find_flaw(segments, shard, images):
            continue
        jobs.append(Job(shard, len(images)))
        if (known := generated.rows(shard)) is not None:
            missing[shard] = sum(uid not in known for uid in images["uid"].to_pylist())
    if 0 < sum(missing.values()) < sum(job.images for job in jobs):
        shard = next(shard for shard, count in missing.items() if count)
        raise UserError(
            f"{generated.folder}: {missing[shard]} pictures of shard {shard} have no row there; "
            "run `dvc repro caption`, which asks for what is missing"
        )
    return jobs


def build_maker(
    params: SegmentTextParams, space: Callable[[], JointSpace], cells: np.ndarray | None
) -> Maker:
    """Build the maker of segments, in each process."""
    return params.build(space(), cells)


def segment_shard(
    inputs: Inputs,
    params: SegmentTextParams,
    maker: Callable[[], Maker],
    encoder: Callable[[], Encoder] | None,
    segments: Path,
    generated: Captions,
    given: Callable[[], Mapping[str, list[Given]]],
    job: Job,
) -> int:
    """Write one shard, its stats last; returns its number of images."""
    images = read_shard_images(inputs, params, given(), job.shard).images.to_pylist()
    captions, count = read_captions(images, generated.rows(job.shard))
    # products are small: more threads than one only wait for one another (5 to 45 ms an image on
    # busy cores); and whoever makes a shard rounds the same
    with threadpool_limits(1):
        phrases = dict(
            zip((row["uid"] for row in images), find_phrases(images, captions, params), strict=True)
        )
        maker().grounder.prepare(
            sorted({p.text for row in phrases.values() for caption in row for p in caption.phrases})
        )
        rows = []
        for view in read_views(inputs, job.shard, encoder):
            if view.uid in phrases:
                image_rows, lost = maker().make_segments(view, phrases[view.uid])
                rows += image_rows
                count.update(lost)
    count.update(segments=len(rows), texts=sum(len(row["texts"]) for row in rows))
    write_table(pa.Table.from_pylist(rows, schema=SEGMENTS), segments / f"{job.shard}.parquet")
    write_json(dict(count), segments / f"{job.shard}_stats.json")
    return len(images)
