"""Checks that the files and folders exist that params.yaml names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from captionseg.checks.licences import find_towers, walk_configs
from captionseg.index_params import IndexParams
from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.layers.timm_tags import PACKAGED, check_tag, is_tag
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.sources.sources import DownloadParams
from captionseg.storage.remote import find_scheme
from captionseg.training.params import model_config
from captionseg.typed import build


def check_files(params: Params, done: Collection[str]) -> Iterator[str]:
    """Check that the files and folders exist that the chosen members name, and the tags."""
    for section, where, path in (*list_paths(params), *list_weights(params)):
        if section not in done and not path:
            yield f"{where}: empty; give a path"
        elif section not in done and not Path(path).expanduser().exists():
            yield f"{where}: no such file or folder: {path!r}"
    if "pretrain" not in done:
        yield from check_tags(params)


def check_tags(params: Params) -> Iterator[str]:
    """Check that timm knows the tags of weights that recipes name."""
    for name, config in list_configs(params):
        for tower, weights in find_towers(config):
            if is_tag(weights):
                try:
                    check_tag(f"{tower.partition('.')[0]}.{weights}")
                except ValueError as error:
                    yield f"recipes.{name}: {error}; or name a file"


def list_paths(params: Params) -> Iterator[tuple[str, str, str]]:
    """Yield (section, dotted path, value) of every path that a chosen member reads before training
    starts.
    """
    download, caption, curate, segments = (
        params.download,
        params.caption,
        params.curate,
        params.segment_text,
    )
    for field, path in list_source_paths(download):
        yield "download", f"download.{download.source}.{field}", path
    if caption.captioner in ("chat", "precomputed"):
        field = "folder" if caption.captioner == "chat" else "file"
        yield (
            "caption",
            f"caption.{caption.captioner}.{field}",
            getattr(getattr(caption, caption.captioner), field),
        )
    yield from (("index", f"index.{field}", path) for field, path in list_index_paths(params.index))
    for field in ("stop", "file"):
        if (path := getattr(curate.vocabulary, field)) is not None:
            yield "curate", f"curate.vocabulary.{field}", path
    if (boilerplate := curate.marks.boilerplate) and boilerplate.file is not None:
        yield "curate", "curate.marks.boilerplate.file", boilerplate.file
    checkpoint = vars(params.regions.build()).get("checkpoint")
    if checkpoint is not None:
        yield "regions", f"regions.{params.regions.maker}.checkpoint", checkpoint
    for name, member in segments.members.items():
        for field in vars(member).keys() & {"checkpoint", "file"}:
            yield "segment_text", f"segment_text.{name}.{field}", getattr(member, field)


def list_source_paths(download: DownloadParams) -> Iterator[tuple[str, str]]:
    """Yield the field and the value of every path on this machine that the source reads.

    Stores elsewhere and patterns are left to the source, which asks or looks for them.
    """
    source = download.get_source()
    names = [one.name for one in fields(source)]  # type: ignore[arg-type]
    for field in (name for name in names if name in ("root", "path", "annotations", "images")):
        path = getattr(source, field)
        if field == "images" and not path:
            continue  # found beside the table
        if not find_scheme(path) and not set(path) & set("*?[{"):
            yield field, re.sub(r"^file://", "", path, flags=re.IGNORECASE)


def list_index_paths(index: IndexParams) -> Iterator[tuple[str, str]]:
    """Yield the dotted path in the section and the value of every path that the index reads."""
    if index.embeddings is not None:
        yield "embeddings", index.embeddings
    if index.encoder == "open_clip" and "/" in index.open_clip.pretrained:
        yield "open_clip.pretrained", index.open_clip.pretrained
    if index.encoder == "open_clip" and index.open_clip.tokenizer:
        yield "open_clip.tokenizer", index.open_clip.tokenizer
    if index.encoder in ("siglip", "tips"):
        yield f"{index.encoder}.folder", getattr(index, index.encoder).folder


def list_weights(params: Params) -> Iterator[tuple[str, str, str]]:
    """Yield (section, dotted path, value) of the weights of models and mask makers."""
    masks = {"evaluate": params.evaluate.masks}
    for name, recipe in params.recipes.items():
        if recipe.masks is not None:
            with suppress(UserError):  # reported by check_recipes
                masks[f"recipes.{name}"] = build(MasksParams, recipe.masks, "masks")
    for where, one in masks.items():
        if one is not None and one.maker in ("sam_auto", "sam2_auto"):
            path = getattr(one, one.maker).checkpoint
            yield "evaluate", f"{where}.masks.{one.maker}.checkpoint", path
    for name, config in list_configs(params):
        yield from (
            ("pretrain", f"recipes.{name}: {path}", value)
            for path, value in find_weights(config, params.recipes[name].model)
        )


def list_configs(params: Params) -> Iterator[tuple[str, Any]]:
    """Yield the name and the model's config of each recipe that has a valid one."""
    for name, recipe in params.recipes.items():
        with suppress(UserError):  # reported by check_recipes
            yield name, model_config(recipe, params.pretrain)


def find_weights(config: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield the path and value of every field `weights` that names a file, in a config and in the
    configs nested in it. Networks of timm may have a tag there.
    """
    for path, one in walk_configs(config, where):
        weights: Any = getattr(one, "weights", None)
        takes_tags = isinstance(one, Network) or bool(getattr(one, "backbone", ""))
        elsewhere = weights == PACKAGED or (takes_tags and is_tag(str(weights)))
        is_needed = weights or getattr(one, "needs_weights", False)
        if hasattr(one, "weights") and is_needed and not elsewhere:
            yield f"{path}.weights", weights
