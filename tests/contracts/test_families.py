"""A new member of a family is one file, one dict line, one test."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from stages import deps
from tests.contracts.tested_elsewhere import TESTED_ELSEWHERE

ROOT = Path(__file__).parents[2]
# captionseg.benchmarks.published: members of its catalogue, which holds data, not classes
PUBLISHED = {
    "ade20k",
    "cityscapes",
    "coco",
    "context",
    "imagenet",
    "imagenet_s",
    "part_imagenet",
    "voc",
}
# package: its dicts, and the files beside the members
FAMILIES = {
    "curation": (
        ["RULES"],
        {
            "clustering",
            "held_out",
            "marked",
            "corpus",
            "leave_one_out",
            "measure",
            "pipeline",
            "relevance",
            "rule",
            "selection",
            "shards",
            "shared",
            "visibility",
        },
    ),
    "marking": (
        ["MARKERS"],
        {"clusters", "hamming", "leaders", "lists", "mark", "marker", "rows", "twins"},
    ),
    "sources": (
        ["SOURCES"],
        {
            "addresses",
            "caption_text",
            "cells",
            "client",
            "debian_packages",
            "delimited",
            "encoding",
            "fetch",
            "img2dataset_table",
            "listing",
            "listing_rows",
            "locations",
            "members",
            "pair_columns",
            "pairing",
            "params",
            "phash",
            "picture_files",
            "reasons",
            "repeats",
            "replies",
            "row_merging",
            "sample_reader",
            "scene_assets",
            "shard_formats",
            "source",
            "table_formats",
            "table_listing",
        },
    ),
    "encoders": (
        ["ENCODERS"],
        {
            "activation",
            "alignment",
            "clip_file",
            "dense_head",
            "efficientnet_lite",
            "encoder",
            "last_block",
            "open_clip_config",
            "open_clip_releases",
            "open_clip_tokenizer",
            "open_clip_weights",
            "reduction",
            "text_space",
            "text_tower",
            "timm_tower",
            "transformers_folder",
        },
    ),
    "retrieval": (["INDEXES"], {"index", "blocks", "embedding_folder"}),
    "segmenters": (
        ["SEGMENTERS", "REGION_MAKERS", "MASK_MAKERS"],
        {"islands", "overlap", "pooling", "prompted_sam", "region_files", "interfaces"},
    ),
    "grounding": (["GROUNDERS"], {"box_phrases", "concept_detector", "grounder", "pieces"}),
    "captioners": (["CAPTIONERS"], {"cache", "captioner", "corpus_captions"}),
    "modeling": (
        ["MODELS"],
        {
            "backbone",
            "batch_norm",
            "bags",
            "capabilities",
            "clip_tower",
            "completion",
            "cross_image",
            "dual_encoder",
            "foundation",
            "frozen_towers",
            "group_encoder",
            "group_readout",
            "tcl_grounder",
            "grouping",
            "groupvit_checkpoint",
            "groupvit_fields",
            "highlight",
            "merging",
            "pair_losses",
            "pretrained",
            "timm_names",
            "timm_tags",
            "regions",
            "saved",
            "segmenter",
            "text",
            "texts",
            "tokens",
            "training_free",
            "transformer",
            "word_segments",
            "zero_shot",
        },
    ),
    "benchmarks": (
        ["BENCHMARKS"],
        {
            "any_folder",
            "areas",
            "benchmark",
            "catalogue",
            "classification",
            "coco_json",
            "command",
            "evaluate",
            "folder_benchmark",
            "largest_object",
            "layout",
            "mask_files",
            "mask_precision",
            "own_data",
            "own_folder",
            "parts",
            "params",
            "recipe",
            "score_saved_models",
            "segment_retrieval",
            *PUBLISHED,
        },
    ),
}


def members(package: str) -> set[str]:
    """Files of a family that its dicts lead to."""
    found = set()
    for name in FAMILIES[package][0]:
        module = importlib.import_module(f"captionseg.{package}.{name.lower()}")
        for value in getattr(module, name).values():
            for item in value if isinstance(value, tuple) else (value,):
                found.add(Path(inspect.getfile(item)).stem)
    return found


@pytest.mark.parametrize("package", FAMILIES)
def test_every_file_is_in_its_dict_or_known_to_stand_beside(repository, package):
    files = {
        Path(f).stem
        for f in repository.modules("captionseg")
        if f.startswith(f"captionseg/{package}/")
    }
    strangers = files - members(package) - FAMILIES[package][1] - {"__init__"}
    strangers -= {name.lower() for name in FAMILIES[package][0]}  # RULES is in rules.py
    dicts = " or ".join(FAMILIES[package][0])
    assert not strangers, (
        f"captionseg/{package}: {sorted(strangers)} in no dict; add a line to {dicts}"
    )
    assert FAMILIES[package][1] <= files


def test_deps_of_dvc_yaml_know_every_family():
    """All that imports from benchmarks scores by one, so their files are not told apart."""
    known = {
        f"captionseg/{package}/{name.lower()}.py"
        for package, (names, _) in FAMILIES.items()
        for name in names
    }
    assert known - {"captionseg/benchmarks/benchmarks.py"} == set(deps.FAMILIES)


def is_code(file: str) -> bool:
    """Does a module do anything? Protocols, dataclasses of data and constants do not."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.FunctionDef):
            body = [
                s
                for s in node.body
                if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))
            ]
            if body:
                return True
    return False


def test_every_module_has_its_test(repository):
    """tests/ mirrors the library: captionseg/curation/cocu.py ->
    tests/captionseg/curation/test_cocu.py.
    """
    missing = []
    for file in repository.modules("captionseg"):
        path = Path(file)
        test = TESTED_ELSEWHERE.get(file, f"tests/{path.parent}/test_{path.name}")
        interface = path.stem in {
            "rule",
            "encoder",
            "source",
            "segmenter",
            "grounder",
            "benchmark",
            "index",
        }
        if (
            path.stem == "__init__"
            or (interface and not (ROOT / test).is_file())
            or not is_code(file)
        ):
            continue
        if not (ROOT / test).is_file():
            missing.append(f"{test} for {file}")
    assert not missing, "missing tests:\n  " + "\n  ".join(missing)
