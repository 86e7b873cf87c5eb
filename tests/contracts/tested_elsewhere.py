"""Modules whose test has another name than they have."""

TESTED_ELSEWHERE = {
    "captionseg/benchmarks/mask_files.py": "tests/captionseg/benchmarks/test_layout.py",
    "captionseg/benchmarks/params.py": "tests/captionseg/benchmarks/test_recipe.py",
    "captionseg/captioners/captioners.py": "tests/captionseg/captioners/test_captioner.py",
    "captionseg/curation/rules.py": "tests/captionseg/curation/test_rules.py",
    "captionseg/sources/encoding.py": "tests/captionseg/sources/test_folder_pictures.py",
    "captionseg/sources/folder_files.py": "tests/captionseg/sources/test_folder_refused.py",
    "captionseg/sources/reasons.py": "tests/captionseg/sources/test_listing.py",
    "captionseg/sources/repeats.py": "tests/captionseg/sources/test_listing.py",
    "captionseg/sources/sources.py": "tests/captionseg/sources/test_source.py",
    **{
        f"captionseg/checks/{name}.py": "tests/captionseg/checks/test_check.py"
        for name in ("files", "numbers", "sections")
    },
    "captionseg/commands/unknown_words.py": "tests/captionseg/test_unknown_words.py",
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
            "options",
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
    "captionseg/encoders/open_clip_weights.py": "tests/captionseg/encoders/test_clip_file.py",
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
    "captionseg/reporting/comparison/plot_files.py": (
        "tests/captionseg/reporting/comparison/test_compare.py"
    ),
    "captionseg/reporting/comparison/results.py": (
        "tests/captionseg/reporting/comparison/test_inputs.py"
    ),
    "captionseg/reporting/comparison/score_tables.py": (
        "tests/captionseg/reporting/comparison/test_sections.py"
    ),
    "captionseg/reporting/curation_pictures.py": "tests/captionseg/reporting/test_pictures.py",
    "captionseg/reporting/page.py": "tests/captionseg/reporting/test_report.py",
    "captionseg/reporting/predictions.py": "tests/captionseg/reporting/test_overlay.py",
    "captionseg/runtime/torchscript.py": "tests/captionseg/runtime/test_weights.py",
    "captionseg/tracking/environment.py": "tests/captionseg/tracking/test_labels.py",
    "captionseg/tracking/reproduction_files.py": "tests/captionseg/tracking/test_synchronise.py",
    "captionseg/tracking/stage_run.py": "tests/captionseg/tracking/test_tracking.py",
    "captionseg/tracking/tracker.py": "tests/captionseg/tracking/test_tracking.py",
    "captionseg/tracking/values.py": "tests/captionseg/tracking/test_tracking.py",
    "captionseg/training/checkpoint.py": "tests/captionseg/training/test_fit.py",
    "captionseg/training/sharded.py": "tests/captionseg/training/test_two_processes.py",
}
