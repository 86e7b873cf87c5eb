"""Whether all of params.yaml is fine, and its sections fit together: what each of them cannot know
of the others.

Every check yields lines, one for each mistake: path, what was found, what to do.
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

from captionseg.gate.thresholds import parse
from captionseg.modeling.models import MODELS
from captionseg.params import Params
from captionseg.records import UserError
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
HELD_OUT_MEASURES = tuple(
    f"{name}{end}"
    for name in (
        "precision_at_1",
        "precision_at_4",
        "recall_at_4",
        "average_precision",
        "sampled_precision",
        "sampled_recall",
    )
    for end in ("", "_low", "_high")
)
DIFFERENCE = ("miou", "low", "high", "better")
NEAR = 0.9  # names that are so alike differ by a slip

Keys = tuple[str, ...]


def check(params: Params, *, done: Collection[str] = ()) -> None:
    """Refuse what would fail, or mean nothing, in any stage.

    Args:
        params: of the whole file.
        done: sections whose files are no longer needed, as the stages that read them are done.

    Raises:
        UserError: a line for each mistake.
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
    """Rules that something reads are among those that are run."""
    run = params.curate.rules
    readers = {"segment_text.curation": params.segment_text.curation}
    if "nouns" not in run:
        yield (
            f"curate.rules: 'nouns' is missing (there: {', '.join(run)}), which all training "
            "reads; add it"
        )
    for name, recipe in params.recipes.items():
        readers |= {
            f"recipes.{name}.curation": recipe.curation,
            f"recipes.{name}.archive": recipe.archive,
        }
    for where, rule in readers.items():
        if rule not in run:
            yield (
                f"{where}: reads rule {rule!r}, which curate.rules does not run (there: "
                f"{', '.join(run)}); add it"
            )
    yield from catch_lines(check_keys, params.evaluate.also, params.recipes, "evaluate.also")


def check_counts(params: Params) -> Iterator[str]:
    """Numbers of one section that another one bounds."""
    index, curate, most = params.index, params.curate, params.validate.max_clusters
    for name, rule in curate.chosen().items():
        where = f"curate.{'variants.' if name in curate.variants else ''}{name}"
        limit, clusters = getattr(rule, "limit", math.inf), getattr(rule, "clusters", 0)
        if curate.sampled > limit:
            yield (
                f"curate.sampled: {curate.sampled} cannot be drawn of the {limit} concepts that "
                f"{where}.limit keeps"
            )
        if clusters > limit:
            yield (
                f"{where}.clusters: {clusters} clusters of at most {limit} concepts; lower it, or "
                f"raise {where}.limit"
            )
        if clusters > most:
            yield (
                f"{where}.clusters: {clusters} is more than validate.max_clusters allows "
                f"({most}); raise that"
            )
        for field, held in (
            ("neighbours", index.neighbours),
            ("captions", index.caption_neighbours),
        ):
            if (wanted := getattr(rule, field, 0)) > held:
                key = "index.neighbours" if field == "neighbours" else "index.caption_neighbours"
                yield (
                    f"{where}.{field}: {wanted} is more than {key} holds ({held}); raise that, or "
                    "lower this"
                )
    folder = params.download.folder
    if getattr(params.download.chosen(), "train", 1) == 0:
        yield (
            f"download.{params.download.source}.train: 0 pictures leave nothing to train on; give "
            "at least 1"
        )
    if params.download.source == "folder" and folder.tune + folder.test >= 1:
        yield (
            f"download.folder: tune and test together are {folder.tune + folder.test:g}: nothing "
            "is left to train on"
        )


def check_recipes(params: Params) -> Iterator[str]:
    """What recipes change of a model and of training is there to be changed, and fits together."""
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
                f"{where['batch']}.batch: {trained.batch} images are no equal parts for the "
                f"{world} processes of runtime.devices x runtime.nodes; take a multiple of {world}"
            )
        if trained.warmup and trained.schedule != "poly":
            yield (
                f"{where['warmup']}.warmup: {trained.warmup} steps that schedule "
                f"{trained.schedule} does not have; take schedule: poly, or leave warmup out"
            )


# -------------------------------------------------------------------------------------------------
# numbers of a run


def list_numbers(params: Params) -> set[Keys]:
    """Paths of the numbers that metrics.json may hold."""
    name, found = (
        params.evaluate.name,
        {("data", "pairs"), ("data", "download_success"), ("gate", "passed")},
    )
    found |= {("data", "masks", split) for split in ("train", "tune", "test")}
    found |= {
        ("index", f"{index}_recall")
        for index in ("image", "text", "neighbours", "caption_neighbours")
    }
    found |= {
        ("curation", rule, measure) for rule in params.curate.rules for measure in CURATION_MEASURES
    }
    found |= {
        ("curation", rule, "held_out", measure)
        for rule in params.curate.rules
        for measure in HELD_OUT_MEASURES
    }
    found |= {
        ("segments", *more, measure) for more in ((), ("captions",)) for measure in SEGMENT_MEASURES
    }
    for recipe in params.recipes:
        found |= {("recipes", recipe, name, score) for score in SCORES}
        found |= {
            ("recipes", recipe, name, over, key)
            for over in ("over_baseline", "over_control")
            for key in DIFFERENCE
        }
        found |= {
            ("recipes", recipe, f"{name}@{paper}", score)
            for paper in params.evaluate.also.get(recipe, ())
            for score in SCORES
        }
        found |= {("recipes", recipe, "train", measure) for measure in ("loss", "tune_miou")}
    return found


def check_gate(params: Params) -> Iterator[str]:
    """Rules can be read, and name numbers that there will be."""
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
                    yield f"gate.{name}: {word!r} is no finite number, so the rule decides nothing"
            except ValueError:
                yield from check_pattern(
                    f"gate.{name}: metrics.json will have no {word}", word, known
                )


def check_regression(params: Params) -> Iterator[str]:
    """Patterns fit some number that there will be."""
    known = list_numbers(params)
    for pattern in params.regression:
        yield from check_pattern(
            f"regression.{pattern}: fits no number of metrics.json", pattern, known
        )


def check_pattern(fault: str, pattern: str, known: Iterable[Keys]) -> Iterator[str]:
    """The fault, if a pattern fits nothing that is known.

    Where only the name of a recipe, rule or benchmark is another, and no slip of one that there is,
    it is not refused but said: an experiment may have fewer recipes than the rules are of.
    """
    words = pattern.split(".")
    if "retrieval" in words[:-1]:  # has numbers of its own, by what is looked for
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
        else " (it has data, index, curation, segments, recipes)"
    )


def is_slip(name: str, word: str) -> bool:
    """Is the word a pattern of the name, or the name but for a letter or so?"""
    return fnmatchcase(name, word) or difflib.SequenceMatcher(None, name, word).ratio() >= NEAR


# ------------------------------------------------------------------------------------------
# files and folders


def check_files(params: Params, done: Collection[str]) -> Iterator[str]:
    """Files and folders that chosen members name are there."""
    for section, where, path in (*list_paths(params), *list_weights(params)):
        if section not in done and not path:
            yield f"{where}: give the path of what is to be read"
        elif section not in done and not Path(path).expanduser().exists():
            yield f"{where}: no such file or folder: {path!r}"


def list_paths(params: Params) -> Iterator[tuple[str, str, str]]:
    """Section, dotted path and value of what is a path, of members that are chosen before
    training."""
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
    if params.index.encoder == "open_clip" and "/" in params.index.open_clip.pretrained:
        yield "index", "index.open_clip.pretrained", params.index.open_clip.pretrained
    for field in ("stop", "file"):
        if (path := getattr(curate.vocabulary, field)) is not None:
            yield "curate", f"curate.vocabulary.{field}", path
    for member in (segments.grounder, segments.segmenter):
        if hasattr(chosen := getattr(segments, member), "checkpoint"):
            yield "segment_text", f"segment_text.{member}.checkpoint", chosen.checkpoint


def list_weights(params: Params) -> Iterator[tuple[str, str, str]]:
    """The same of models and of what makes masks for them."""
    masks = {"evaluate": params.evaluate.masks}
    for name, recipe in params.recipes.items():
        if recipe.masks is not None:
            with suppress(UserError):  # said already
                masks[f"recipes.{name}"] = build(MasksParams, recipe.masks, "masks")
    for where, one in masks.items():
        if one is not None and one.maker == "sam_auto":
            yield "evaluate", f"{where}.masks.sam_auto.checkpoint", one.sam_auto.checkpoint
    for name, recipe in params.recipes.items():
        try:
            config = model_config(recipe, params.pretrain)
        except UserError:
            continue  # said already
        yield from (
            ("pretrain", f"recipes.{name}: {path}", value)
            for path, value in find_weights(config, recipe.model)
        )


def find_weights(config: Any, where: str) -> Iterator[tuple[str, str]]:
    """Path and value of every field `weights` that names a file, of a config and those inside
    it."""
    for field in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        value, path = getattr(config, field.name), f"{where}.{field.name}"
        if field.name == "weights" and value not in ("", "packaged"):
            yield path, value
        for inner in value if isinstance(value, tuple | list) else [value]:
            yield from find_weights(inner, path)


def catch_lines(call: Callable[..., object], *given: Any, **more: Any) -> Iterator[str]:
    """The lines of a UserError, if a call raises one."""
    try:
        call(*given, **more)
    except UserError as error:
        yield from str(error).split("\n")
