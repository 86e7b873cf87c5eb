"""Checks of values that one section of params.yaml sets and another one limits."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from captionseg.curation.rule import Rule
from captionseg.encoders.encoders import ATTENDING
from captionseg.encoders.last_block import explain_missing_attention
from captionseg.modeling.models import MODELS
from captionseg.params import Params
from captionseg.records import UserError
from captionseg.training.params import PretrainParams, model_config, protocol_fields
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
        yield from check_frozen(name, params)
        if recipe.model in MODELS:
            yield from catch_lines(protocol_fields, recipe, where=f"recipes.{name}")
        try:
            trained = replace_fields(params.pretrain, recipe.training, f"recipes.{name}.training")
        except UserError as error:
            yield str(error)
            continue
        where = {
            field: f"recipes.{name}.training" if field in recipe.training else "pretrain"
            for field in ("batch", "warmup", "warmup_from", "floor")
        }
        if trained.batch % world:
            yield (
                f"{where['batch']}.batch: {trained.batch} cannot be split evenly over the {world} "
                f"processes of runtime.devices x runtime.nodes; use a multiple of {world}"
            )
        yield from check_schedule(trained, where)


def check_frozen(name: str, params: Params) -> Iterator[str]:
    """Check that the dense features that a recipe reads in every step are stored, and that its
    model can replace the encoder's attention if it does so.
    """
    recipe, encoder = params.recipes[name], params.index.encoder
    with contextlib.suppress(UserError):  # of its config, which is said elsewhere
        reads = model_config(recipe, params.pretrain).reads
        if reads.dense and not params.index.keep_dense:
            yield (
                f"index.keep_dense: recipes.{name} reads dense features in every step, but they "
                "are not stored; set it to true"
            )
        if reads.attention and encoder not in ATTENDING:
            yield f"recipes.{name}: {explain_missing_attention(recipe.model, encoder)}"


def check_schedule(trained: PretrainParams, where: Mapping[str, str]) -> Iterator[str]:
    """Check that only settings are changed that the schedule of the learning rate has.

    Args:
        trained: section `pretrain` of a recipe.
        where: field -> section that sets it.
    """
    having = {
        "warmup": ("poly", "warmup_cosine"),
        "warmup_from": ("warmup_cosine",),
        "floor": ("warmup_cosine",),
    }
    for field, schedules in having.items():
        value = getattr(trained, field)
        if value and trained.schedule not in schedules:
            unit = f" {trained.warmup_unit}" if field == "warmup" else ""
            yield (
                f"{where[field]}.{field}: schedule {trained.schedule} has no {field}, found "
                f"{value:g}{unit}; use schedule: {' or '.join(schedules)}, or remove {field}"
            )


def catch_lines(call: Callable[..., object], *arguments: Any, **options: Any) -> Iterator[str]:
    """Yield the lines of the UserError that a call raises, if any."""
    try:
        call(*arguments, **options)
    except UserError as error:
        yield from str(error).split("\n")
