"""Checks of the whole of params.yaml, including what one section cannot check about another.

Every check yields one line per mistake: the path, what was found, what to do.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from captionseg.curation import held_out
from captionseg.gate.thresholds import parse
from captionseg.modeling.models import MODELS
from captionseg.params import Params
from captionseg.records import DROPPED, UserError
from captionseg.reporting.tables import SCORES, SEGMENT_MEASURES
from captionseg.segmenters.mask_makers import MasksParams
from captionseg.training.params import model_config, protocol_fields
from captionseg.typed import build, check_keys, replace_fields

log = logging.getLogger(__name__)

CURATION_MEASURES = (
    "concepts_per_image",
    "kept",
    "recall",
    "precision",
    "recall_unnamed",
    "sampled_recall",
    "sampled_precision",
)
DIFFERENCE = ("miou", "low", "high", "better")
NEAR = 0.9  # similarity from which a name counts as a typo of another

Keys = tuple[str, ...]


def check(params: Params, *, done: Collection[str] = ()) -> None:
    """Refuse params that would fail in any stage, or have no effect.

    Args:
        params: the whole file.
        done: sections whose files are not checked, because the stages that read them are done.

    Raises:
        UserError: one line per mistake.
    """
    params.check()
    faults = [
        *check_rules(params),
        *check_counts(params),
        *check_recipes(params),
        *check_gate(params),
        *check_regression(params),
        *check_files(params, done),
    ]
    if faults:
        raise UserError("\n".join(dict.fromkeys(faults)))


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
    index, curate, most = params.index, params.curate, params.validate.max_clusters
    for name, rule in curate.chosen().items():
        where = f"curate.{'variants.' if name in curate.variants else ''}{name}"
        limit, clusters = getattr(rule, "limit", math.inf), getattr(rule, "clusters", 0)
        if curate.sampled > limit:
            yield (
                f"curate.sampled: {curate.sampled} is more than the {limit} concepts that "
                f"{where}.limit keeps"
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
        for field, held in (
            ("neighbours", index.neighbours),
            ("captions", index.caption_neighbours),
        ):
            if (count := getattr(rule, field, 0)) > held:
                key = "index.neighbours" if field == "neighbours" else "index.caption_neighbours"
                yield (
                    f"{where}.{field}: {count} is more than {key} ({held}); lower it, or raise "
                    f"{key}"
                )
    folder = params.download.folder
    if getattr(params.download.chosen(), "train", 1) == 0:
        yield (
            f"download.{params.download.source}.train: 0 leaves no pictures to train on; use at "
            "least 1"
        )
    if params.download.source == "folder" and folder.tune + folder.test >= 1:
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


# -------------------------------------------------------------------------------------------------
# numbers of a run


def list_numbers(params: Params) -> set[Keys]:
    """Return the paths of all numbers that metrics.json may contain."""
    name, paths = (
        params.evaluate.name,
        {("data", "pairs"), ("data", "download_success"), ("gate", "passed")},
    )
    paths |= {("data", "masks", split) for split in ("train", "tune", "test")}
    paths |= {
        ("index", f"{index}_recall")
        for index in ("image", "text", "neighbours", "caption_neighbours")
    }
    paths |= {
        ("curation", rule, measure) for rule in params.curate.rules for measure in CURATION_MEASURES
    }
    paths |= {("curation", DROPPED, kind) for kind in params.curate.marks.kinds()}
    paths |= {
        ("curation", rule, "held_out", measure)
        for rule in params.curate.rules
        for measure in held_out.MEASURES
    }
    paths |= {
        ("segments", *more, measure) for more in ((), ("captions",)) for measure in SEGMENT_MEASURES
    }
    for recipe in params.recipes:
        paths |= {("recipes", recipe, name, score) for score in SCORES}
        paths |= {
            ("recipes", recipe, name, over, key)
            for over in ("over_baseline", "over_control")
            for key in DIFFERENCE
        }
        paths |= {
            ("recipes", recipe, f"{name}@{paper}", score)
            for paper in params.evaluate.also.get(recipe, ())
            for score in SCORES
        }
        paths |= {("recipes", recipe, "train", measure) for measure in ("loss", "tune_miou")}
    return paths


def check_gate(params: Params) -> Iterator[str]:
    """Check that gate rules can be parsed and name numbers that the run will produce."""
    known = list_numbers(params)
    for name, text in params.gate.items():
        try:
            rule = parse(name, text)
        except UserError as error:
            yield str(error)
            continue
        for word in [word for _, factors in (*rule.left, *rule.right) for word in factors]:
            try:
                if not math.isfinite(float(word)):
                    yield f"gate.{name}: {word!r} is not a finite number"
            except ValueError:
                yield from check_pattern(
                    f"gate.{name}: metrics.json will not contain {word}", word, known
                )


def check_regression(params: Params) -> Iterator[str]:
    """Check that every pattern of `regression` matches a number that the run will produce."""
    known = list_numbers(params)
    for pattern in params.regression:
        yield from check_pattern(
            f"regression.{pattern}: matches no number in metrics.json", pattern, known
        )


def check_pattern(fault: str, pattern: str, known: Iterable[Keys]) -> Iterator[str]:
    """Yield the fault if a pattern matches no known number.

    If only the name of a recipe, rule or benchmark is unknown, and it is no typo of a known one,
    the fault is logged as a warning instead: an experiment may have fewer recipes than the gate's
    rules name.
    """
    words = pattern.split(".")
    if "retrieval" in words[:-1]:  # the numbers below it depend on the queries
        words = words[: words.index("retrieval") + 1]
    alike = [keys for keys in known if len(keys) == len(words)]
    if any(all(map(fnmatchcase, keys, words)) for keys in alike):
        return
    ends = [
        keys
        for keys in alike
        if fnmatchcase(keys[0], words[0]) and fnmatchcase(keys[-1], words[-1])
    ]
    slips = [".".join(keys) for keys in ends if all(map(is_slip, keys, words))]
    if ends and not slips:
        log.warning("%s", fault)
        return
    near = slips or difflib.get_close_matches(pattern, {".".join(keys) for keys in known}, 1)
    yield fault + (
        f"; did you mean {min(near)!r}?"
        if near
        else " (sections: data, index, curation, segments, recipes)"
    )


def is_slip(name: str, word: str) -> bool:
    """Return whether a word matches a name as a pattern, or is a likely typo of it."""
    return fnmatchcase(name, word) or difflib.SequenceMatcher(None, name, word).ratio() >= NEAR


# ------------------------------------------------------------------------------------------
# files and folders


def check_files(params: Params, done: Collection[str]) -> Iterator[str]:
    """Check that the files and folders exist that the chosen members name."""
    for section, where, path in (*list_paths(params), *list_weights(params)):
        if section not in done and not path:
            yield f"{where}: empty; give a path"
        elif section not in done and not Path(path).expanduser().exists():
            yield f"{where}: no such file or folder: {path!r}"


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
    if download.source == "folder":
        yield "download", "download.folder.root", download.folder.root
    if caption.captioner in ("chat", "precomputed"):
        field = "folder" if caption.captioner == "chat" else "file"
        yield (
            "caption",
            f"caption.{caption.captioner}.{field}",
            getattr(getattr(caption, caption.captioner), field),
        )
    if params.index.embeddings is not None:
        yield "index", "index.embeddings", params.index.embeddings
    if params.index.encoder == "open_clip" and "/" in params.index.open_clip.pretrained:
        yield "index", "index.open_clip.pretrained", params.index.open_clip.pretrained
    for field in ("stop", "file"):
        if (path := getattr(curate.vocabulary, field)) is not None:
            yield "curate", f"curate.vocabulary.{field}", path
    if (boilerplate := curate.marks.boilerplate) and boilerplate.file is not None:
        yield "curate", "curate.marks.boilerplate.file", boilerplate.file
    for member in (segments.grounder, segments.segmenter):
        if hasattr(chosen := getattr(segments, member), "checkpoint"):
            yield "segment_text", f"segment_text.{member}.checkpoint", chosen.checkpoint


def list_weights(params: Params) -> Iterator[tuple[str, str, str]]:
    """Yield (section, dotted path, value) of the weights of models and mask makers."""
    masks = {"evaluate": params.evaluate.masks}
    for name, recipe in params.recipes.items():
        if recipe.masks is not None:
            with suppress(UserError):  # reported by check_recipes
                masks[f"recipes.{name}"] = build(MasksParams, recipe.masks, "masks")
    for where, one in masks.items():
        if one is not None and one.maker == "sam_auto":
            yield "evaluate", f"{where}.masks.sam_auto.checkpoint", one.sam_auto.checkpoint
    for name, recipe in params.recipes.items():
        try:
            config = model_config(recipe, params.pretrain)
        except UserError:
            continue  # reported by check_recipes
        yield from (
            ("pretrain", f"recipes.{name}: {path}", value)
            for path, value in find_weights(config, recipe.model)
        )


def find_weights(config: Any, where: str) -> Iterator[tuple[str, str]]:
    """Yield the path and value of every field `weights` that names a file, in a config and in the
    configs nested in it.
    """
    for field in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        value, path = getattr(config, field.name), f"{where}.{field.name}"
        if field.name == "weights" and value not in ("", "packaged"):
            yield path, value
        for inner in value if isinstance(value, tuple | list) else [value]:
            yield from find_weights(inner, path)


def catch_lines(call: Callable[..., object], *arguments: Any, **options: Any) -> Iterator[str]:
    """Yield the lines of the UserError that a call raises, if any."""
    try:
        call(*arguments, **options)
    except UserError as error:
        yield from str(error).split("\n")
