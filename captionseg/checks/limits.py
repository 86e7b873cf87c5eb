"""Checks of values that one section of params.yaml sets and another one limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from captionseg.curation.rule import Rule
from captionseg.modeling.models import MODELS
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.training.params import model_config, protocol_fields
from captionseg.typed import check_keys, replace_fields


def check_rules(params: Params) -> Iterator[str]:
    """Check that every rule that something reads is one that curate runs."""
    run = params.curate.rules
    readers = {"segment_text.curation": params.segment_text.curation}
    if "nouns" not in run:
        yield (
            f"curate.rules: 'nouns' is missing (found: {', '.join(run)}), but all training needs "
            "it; add it"
        )
    for name, recipe in params.recipes.items():
        readers |= {
            f"recipes.{name}.curation": recipe.curation,
            f"recipes.{name}.archive": recipe.archive,
        }
    for where, rule in readers.items():
        if rule not in run:
            yield (
                f"{where}: rule {rule!r} is not in curate.rules (found: {', '.join(run)}); add it "
                "there"
            )
    yield from catch_lines(check_keys, params.evaluate.also, params.recipes, "evaluate.also")


def check_counts(params: Params) -> Iterator[str]:
    """Check numbers that are limited by another section."""
    curate = params.curate
    for name, rule in curate.list_rules().items():
        where = f"curate.{'variants.' if name in curate.variants else ''}{name}"
        yield from check_limit(where, rule, params)
        yield from check_neighbours(where, rule, params)
    yield from check_split(params)


def check_limit(where: str, rule: Rule, params: Params) -> Iterator[str]:
    """Check what the number of concepts that a rule keeps limits, and its clusters."""
    sampled, most = params.curate.sampled, params.validate.max_clusters
    limit, clusters = getattr(rule, "limit", math.inf), getattr(rule, "clusters", 0)
    if sampled > limit:
        yield (
            f"curate.sampled: {sampled} is more than the {limit} concepts that {where}.limit keeps"
        )
    if clusters > limit:
        yield (
            f"{where}.clusters: {clusters} is more than the {limit} concepts that "
            f"{where}.limit keeps; lower it, or raise {where}.limit"
        )
    if clusters > most:
        yield (
            f"{where}.clusters: {clusters} is more than validate.max_clusters ({most}); "
            "raise validate.max_clusters"
        )


def check_neighbours(where: str, rule: Rule, params: Params) -> Iterator[str]:
    """Check that the index holds as many neighbours as a rule reads."""
    index = params.index
    for field, key, held in (
        ("neighbours", "index.neighbours", index.neighbours),
        ("captions", "index.caption_neighbours", index.caption_neighbours),
    ):
        if (count := getattr(rule, field, 0)) > held:
            yield f"{where}.{field}: {count} is more than {key} ({held}); lower it, or raise {key}"


def check_split(params: Params) -> Iterator[str]:
    """Check that pictures are left to train on."""
    download, folder = params.download, params.download.folder
    if getattr(download.get_source(), "train", 1) == 0:
        yield (
            f"download.{download.source}.train: 0 leaves no pictures to train on; use at least 1"
        )
    if download.source == "folder" and folder.tune + folder.test >= 1:
        yield (
            f"download.folder: tune + test is {folder.tune + folder.test:g}, which leaves no "
            "pictures to train on; make it less than 1"
        )


def check_recipes(params: Params) -> Iterator[str]:
    """Check that recipes only set fields that exist, and that these are consistent."""
    world = params.runtime.devices * params.runtime.nodes
    for name, recipe in params.recipes.items():
        yield from catch_lines(model_config, recipe, params.pretrain, where=f"recipes.{name}")
        if recipe.model in MODELS:
            yield from catch_lines(protocol_fields, recipe, where=f"recipes.{name}")
        try:
            trained = replace_fields(params.pretrain, recipe.training, f"recipes.{name}.training")
        except UserError as error:
            yield str(error)
            continue
        where = {
            field: f"recipes.{name}.training" if field in recipe.training else "pretrain"
            for field in ("batch", "warmup")
        }
        if trained.batch % world:
            yield (
                f"{where['batch']}.batch: {trained.batch} cannot be split evenly over the {world} "
                f"processes of runtime.devices x runtime.nodes; use a multiple of {world}"
            )
        if trained.warmup and trained.schedule != "poly":
            yield (
                f"{where['warmup']}.warmup: schedule {trained.schedule} has no warmup, found "
                f"{trained.warmup} steps; use schedule: poly, or remove warmup"
            )


def catch_lines(call: Callable[..., object], *arguments: Any, **options: Any) -> Iterator[str]:
    """Yield the lines of the UserError that a call raises, if any."""
    try:
        call(*arguments, **options)
    except UserError as error:
        yield from str(error).split("\n")
