"""A new member of a family is one file, one dict line, one test."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from stages import deps

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
            "labelling",
            "measure",
            "pipeline",
            "relevance",
            "rule",
            "selection",
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
            "captions",
            "client",
            "columns",
            "debian",
            "encoding",
            "fetch",
            "folder_files",
            "grouping",
            "listing",
            "params",
            "picture_files",
            "places",
            "reasons",
            "repeats",
            "replies",
            "scene_assets",
            "shard_files",
            "shard_forms",
            "shard_samples",
            "shard_tables",
            "source",
            "table_files",
            "tables",
            "text_tables",
        },
    ),
    "encoders": (
        ["ENCODERS"],
        {
            "activation",
            "alignment",
            "clip_file",
            "dense_head",
            "encoder",
            "open_clip_config",
            "open_clip_releases",
            "open_clip_weights",
            "reduction",
            "text_space",
            "text_tower",
        },
    ),
    "retrieval": (["INDEXES"], {"index", "embedding_folder"}),
    "segmenters": (
        ["SEGMENTERS", "REGION_MAKERS", "MASK_MAKERS"],
        {"islands", "overlap", "pooling", "segmenter"},
    ),
    "grounding": (["GROUNDERS"], {"box_phrases", "grounder", "pieces"}),
    "captioners": (["CAPTIONERS"], {"cache", "captioner", "corpus"}),
    "modeling": (
        ["MODELS"],
        {
            "backbone",
            "bags",
            "capabilities",
            "clip_tower",
            "completion",
            "cross_image",
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
            "any_folder",
            "areas",
            "benchmark",
            "catalogue",
            "classification",
            "coco_json",
            "command",
            "evaluate",
            "folder_benchmark",
            "layout",
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
# modules whose test has another name
TESTED_ELSEWHERE = {
    "captionseg/benchmarks/params.py": "tests/captionseg/benchmarks/test_recipe.py",
    "captionseg/captioners/captioners.py": "tests/captionseg/captioners/test_captioner.py",
    "captionseg/curation/rules.py": "tests/captionseg/curation/test_rules.py",
    "captionseg/sources/encoding.py": "tests/captionseg/sources/test_folder_pictures.py",
    "captionseg/sources/folder_files.py": "tests/captionseg/sources/test_folder_refused.py",
    "captionseg/sources/reasons.py": "tests/captionseg/sources/test_listing.py",
    "captionseg/sources/repeats.py": "tests/captionseg/sources/test_listing.py",
    "captionseg/sources/sources.py": "tests/captionseg/sources/test_source.py",
    "captionseg/commands/unknown_words.py": "tests/captionseg/test_unknown_words.py",
    "captionseg/constraints.py": "tests/captionseg/test_typed.py",
    "captionseg/model_inputs.py": "tests/captionseg/test_records.py",
    "captionseg/rgb.py": "tests/captionseg/test_images.py",
    "captionseg/neighbours.py": "tests/captionseg/test_indexing.py",
    "captionseg/index_params.py": "tests/captionseg/encoders/test_encoders.py",
    "captionseg/reporting/params.py": "tests/captionseg/test_params.py",
    "captionseg/runtime/params.py": "tests/captionseg/test_params.py",
    "captionseg/segment_text/params.py": "tests/captionseg/segment_text/test_maker.py",
    "captionseg/segmenters/mask_makers.py": "tests/captionseg/segmenters/test_sam_auto.py",
    "captionseg/segmenters/region_makers.py": "tests/captionseg/segmenters/test_felzenszwalb.py",
    "captionseg/training/params.py": "tests/captionseg/training/test_pretrain.py",
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
    "captionseg/commands/compare.py": "tests/captionseg/tracking/test_command.py",
    "captionseg/commands/sync.py": "tests/captionseg/tracking/test_synchronise.py",
    "captionseg/commands/trace.py": "tests/captionseg/lineage/test_trace.py",
    **{
        f"captionseg/storage/{name}.py": "tests/captionseg/test_storage.py"
        for name in ("folders", "reading", "writing")
    },
    **{
        f"captionseg/datasets/{name}.py": "tests/captionseg/datasets/test_shards.py"
        for name in ("masks", "shard_files")
    },
    "captionseg/sources/fetching/client.py": "tests/captionseg/sources/fetching/test_fetch.py",
    "captionseg/storage/json_items.py": "tests/captionseg/test_json_items.py",
    "captionseg/storage/remote.py": "tests/captionseg/test_remote.py",
    "captionseg/sources/picture_files.py": "tests/captionseg/sources/test_table.py",
    "captionseg/sources/text_tables.py": "tests/captionseg/sources/test_tables.py",
    **{
        f"captionseg/sources/{name}.py": "tests/captionseg/sources/test_shards_damaged.py"
        for name in ("places", "shard_files", "shard_forms", "shard_samples", "shard_tables")
    },
    "captionseg/expectations/coverage_tables.py": "tests/captionseg/expectations/test_coverage.py",
    **{
        f"captionseg/encoders/{name}.py": "tests/captionseg/encoders/test_clip_file.py"
        for name in ("activation", "open_clip_config", "open_clip_releases", "open_clip_weights")
    },
    "captionseg/grounding/box_phrases.py": "tests/captionseg/grounding/test_grounding_dino.py",
    **{
        f"captionseg/modeling/{name}_config.py": f"tests/captionseg/modeling/test_{test}.py"
        for name, test in (
            ("code", "code_decomposition"),
            ("ovsegmentor", "ovsegmentor"),
            ("tcl", "tcl"),
            ("use", "use"),
        )
    },
    "captionseg/expectations/pairs.py": "tests/captionseg/expectations/test_validate.py",
    "captionseg/expectations/quiet.py": "tests/captionseg/expectations/test_runner.py",
    "captionseg/expectations/segments.py": "tests/captionseg/expectations/test_validate.py",
    "captionseg/expectations/supervision.py": "tests/captionseg/expectations/test_validate.py",
    "captionseg/expectations/view.py": "tests/captionseg/reporting/test_escaping.py",
    **{
        f"captionseg/inference/{name}.py": "tests/captionseg/inference/test_segment_index.py"
        for name in ("segment_embedding", "segment_model")
    },
    "captionseg/inference/loaded.py": "tests/captionseg/inference/test_labelling.py",
    "captionseg/modeling/readout/group_readout.py": "tests/captionseg/modeling/test_groupvit.py",
    "captionseg/reporting/page.py": "tests/captionseg/reporting/test_report.py",
    "captionseg/reporting/predictions.py": "tests/captionseg/reporting/test_overlay.py",
    "captionseg/runtime/torchscript.py": "tests/captionseg/runtime/test_weights.py",
    "captionseg/tracking/environment.py": "tests/captionseg/tracking/test_labels.py",
    "captionseg/tracking/reproduction_files.py": "tests/captionseg/tracking/test_synchronise.py",
    "captionseg/tracking/stage_run.py": "tests/captionseg/tracking/test_tracking.py",
    "captionseg/tracking/tracker.py": "tests/captionseg/tracking/test_tracking.py",
    "captionseg/tracking/values.py": "tests/captionseg/tracking/test_tracking.py",
    "captionseg/training/batch_texts.py": "tests/captionseg/training/test_batches_tokens.py",
    **{
        f"captionseg/training/{name}.py": "tests/captionseg/training/test_pretrain.py"
        for name in ("model_card", "seeds")
    },
    **{
        f"captionseg/training/{name}.py": "tests/captionseg/training/test_fit.py"
        for name in ("checkpoint", "lightning_module", "schedule")
    },
    "captionseg/training/training_set.py": "tests/captionseg/training/test_loader.py",
    "captionseg/training/sharded.py": "tests/captionseg/training/test_two_processes.py",
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
