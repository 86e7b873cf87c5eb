"""A new member of a family is one file, one dict line, one test."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# members of captionseg.benchmarks.published.PUBLISHED, which holds data, not classes
PUBLISHED = {
    "ade20k",
    "any_folder",
    "cityscapes",
    "coco",
    "context",
    "imagenet",
    "imagenet_s",
    "own_data",
    "part_imagenet",
    "voc",
}
# package: its dicts, and the files beside the members
FAMILIES = {
    "curation": (
        ["RULES"],
        {
            "archive",
            "clustering",
            "corpus",
            "labelling",
            "measure",
            "pipeline",
            "relevance",
            "rule",
            "sampling",
        },
    ),
    "datasets": (
        ["SOURCES"],
        {
            "captions",
            "complete",
            "debian",
            "ids",
            "pictures",
            "scene_assets",
            "shards",
            "source",
            "tables",
        },
    ),
    "encoders": (
        ["ENCODERS"],
        {
            "alignment",
            "clip_file",
            "dense_head",
            "encoder",
            "open_clip_weights",
            "reduction",
            "text_space",
            "text_tower",
        },
    ),
    "retrieval": (["INDEXES"], {"index"}),
    "segmenters": (
        ["SEGMENTERS", "REGION_MAKERS", "MASK_MAKERS"],
        {"islands", "overlap", "pooling", "segmenter"},
    ),
    "grounding": (["GROUNDERS"], {"grounder", "pieces"}),
    "captioners": (["CAPTIONERS"], {"cache", "captioner", "corpus"}),
    "modeling": (
        ["MODELS"],
        {
            "backbone",
            "bags",
            "capabilities",
            "clip_tower",
            "completion",
            "dual_encoder",
            "frozen_towers",
            "group_encoder",
            "group_readout",
            "grounder",
            "grouping",
            "groupvit_checkpoint",
            "groupvit_fields",
            "highlight",
            "merging",
            "pairs",
            "pretrained",
            "regions",
            "saved",
            "segmenter",
            "text",
            "texts",
            "tokens",
            "transformer",
            "word_segments",
            "zero_shot",
        },
    ),
    "benchmarks": (
        ["BENCHMARKS"],
        {
            "areas",
            "benchmark",
            "classification",
            "coco_json",
            "command",
            "evaluate",
            "folder_benchmark",
            "layout",
            "mask_precision",
            "outside",
            "own_folder",
            "parts",
            "published",
            "recipe",
            "segment_retrieval",
            *PUBLISHED,
        },
    ),
}
# modules whose test has another name
TESTED_ELSEWHERE = {
    "captionseg/__main__.py": "tests/captionseg/test_cli.py",
    **{
        f"captionseg/commands/{name}.py": "tests/captionseg/test_cli.py"
        for name in (
            "check_params",
            "convert",
            "difference",
            "evaluate",
            "export_segments",
            "query_segments",
            "segment",
        )
    },
    **{
        f"captionseg/storage/{name}.py": "tests/captionseg/test_storage.py"
        for name in ("folders", "reading", "writing")
    },
    "captionseg/expectations/coverage_tables.py": "tests/captionseg/expectations/test_coverage.py",
    "captionseg/encoders/open_clip_weights.py": "tests/captionseg/encoders/test_clip_file.py",
    "captionseg/expectations/pairs.py": "tests/captionseg/expectations/test_validate.py",
    "captionseg/expectations/quiet.py": "tests/captionseg/expectations/test_runner.py",
    "captionseg/expectations/segments.py": "tests/captionseg/expectations/test_validate.py",
    "captionseg/expectations/supervision.py": "tests/captionseg/expectations/test_validate.py",
    "captionseg/expectations/view.py": "tests/captionseg/reporting/test_escaping.py",
    "captionseg/modeling/readout/group_readout.py": "tests/captionseg/modeling/test_groupvit.py",
    "captionseg/reporting/page.py": "tests/captionseg/reporting/test_report.py",
    "captionseg/reporting/predictions.py": "tests/captionseg/reporting/test_overlay.py",
    "captionseg/runtime/torchscript.py": "tests/captionseg/runtime/test_weights.py",
    "captionseg/tracking/finished.py": "tests/captionseg/tracking/test_synchronise.py",
    "captionseg/tracking/stage_run.py": "tests/captionseg/tracking/test_tracking.py",
    "captionseg/training/checkpoint.py": "tests/captionseg/training/test_fit.py",
    "captionseg/training/sharded.py": "tests/captionseg/training/test_two_processes.py",
}


def members(package: str) -> set[str]:
    """Files of a family that its dicts lead to."""
    found = set()
    for name in FAMILIES[package][0]:
        for value in getattr(importlib.import_module(f"captionseg.{package}"), name).values():
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
    dicts = " or ".join(FAMILIES[package][0])
    assert not strangers, (
        f"captionseg/{package}: {sorted(strangers)} in no dict; add a line to {dicts}"
    )
    assert FAMILIES[package][1] <= files


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
