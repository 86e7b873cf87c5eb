"""Modules whose test has another name than they have."""

SOURCE_TESTS = "tests/captionseg/sources"
TESTED_ELSEWHERE = {
    "captionseg/commands/held_out.py": "tests/stages/test_dag.py",
    "captionseg/benchmarks/mask_files.py": "tests/captionseg/benchmarks/test_layout.py",
    "captionseg/benchmarks/params.py": "tests/captionseg/benchmarks/test_recipe.py",
    "captionseg/captioners/captioners.py": "tests/captionseg/captioners/test_captioner.py",
    "captionseg/curation/rules.py": "tests/captionseg/curation/test_rules.py",
    "captionseg/sources/encoding.py": "tests/captionseg/sources/test_folder_pictures.py",
    "captionseg/sources/folders/pairing.py": "tests/captionseg/sources/test_folder_refused.py",
    "captionseg/sources/listing_rows.py": "tests/captionseg/sources/test_listing.py",
    "captionseg/sources/reasons.py": "tests/captionseg/sources/test_listing.py",
    "captionseg/sources/repeats.py": "tests/captionseg/sources/test_listing.py",
    "captionseg/sources/sources.py": "tests/captionseg/sources/test_source.py",
    **{
        f"captionseg/checks/{name}.py": "tests/captionseg/checks/test_check.py"
        for name in ("limits", "named_files", "numbers")
    },
    "captionseg/constraints.py": "tests/captionseg/test_typed.py",
    "captionseg/extras.py": "tests/contracts/test_extras.py",
    "captionseg/model_inputs.py": "tests/captionseg/test_records.py",
    "captionseg/rgb.py": "tests/captionseg/test_images.py",
    "captionseg/neighbours.py": "tests/captionseg/test_indexing.py",
    "captionseg/index_params.py": "tests/captionseg/encoders/test_encoders.py",
    "captionseg/reporting/params.py": "tests/captionseg/test_params.py",
    "captionseg/runtime/params.py": "tests/captionseg/test_params.py",
    "captionseg/segment_text/params.py": "tests/captionseg/segment_text/test_maker.py",
    "captionseg/segment_text/stage_inputs.py": "tests/captionseg/segment_text/test_pipeline.py",
    "captionseg/segmenters/mask_makers.py": "tests/captionseg/segmenters/test_sam_auto.py",
    "captionseg/segmenters/region_makers.py": "tests/captionseg/segmenters/test_felzenszwalb.py",
    "captionseg/training/params.py": "tests/captionseg/training/test_pretrain.py",
    "captionseg/commands/export.py": "tests/captionseg/inference/test_hub_folder.py",
    **{
        f"captionseg/inference/{name}.py": "tests/captionseg/inference/test_onnx_graph.py"
        for name in ("onnx_check", "onnx_export")
    },
    "captionseg/inference/pixels.py": "tests/captionseg/inference/test_region_pixels.py",
    "captionseg/api/sources.py": "tests/cli/test_many.py",
    "captionseg/api/result_files.py": "tests/cli/test_many.py",
    "captionseg/api/group_pictures.py": "tests/cli/test_groups.py",
    "captionseg/api/neighbour_sheet.py": "tests/cli/test_neighbours.py",
    "captionseg/commands/groups.py": "tests/cli/test_groups.py",
    "captionseg/commands/neighbours.py": "tests/cli/test_neighbours.py",
    "captionseg/inference/groups.py": "tests/cli/test_groups.py",
    "captionseg/inference/image_files.py": "tests/captionseg/inference/test_predictor.py",
    "captionseg/inference/rivals.py": "tests/captionseg/api/test_model.py",
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
    "captionseg/commands/demo.py": "tests/captionseg/demo/test_server.py",
    **{
        f"captionseg/demo/{name}.py": "tests/captionseg/demo/test_page.py"
        for name in ("browse_tab", "elements", "pair_panel", "search_tab", "segment_tab", "backend")
    },
    "captionseg/commands/compare.py": "tests/captionseg/tracking/test_command.py",
    "captionseg/commands/sync.py": "tests/captionseg/tracking/test_synchronise.py",
    "captionseg/commands/trace.py": "tests/captionseg/lineage/test_trace.py",
    **{
        f"captionseg/storage/{name}.py": "tests/captionseg/test_storage.py"
        for name in ("folders", "reading", "writing")
    },
    **{
        f"captionseg/datasets/{name}.py": "tests/captionseg/datasets/test_download.py"
        for name in ("shard_writer", "truth_masks")
    },
    "captionseg/sources/fetching/client.py": "tests/captionseg/sources/fetching/test_fetch.py",
    "captionseg/storage/json_items.py": "tests/captionseg/test_json_items.py",
    "captionseg/storage/remote.py": "tests/captionseg/test_remote.py",
    "captionseg/sources/folders/picture_files.py": "tests/captionseg/sources/test_table.py",
    **{
        f"captionseg/sources/tables/{name}.py": f"{SOURCE_TESTS}/tables/test_table_formats.py"
        for name in ("cells", "table_listing")
    },
    **{
        f"captionseg/sources/sharded/{name}.py": f"{SOURCE_TESTS}/test_shards_damaged.py"
        for name in ("img2dataset_table", "locations", "members", "sample_reader", "shard_formats")
    },
    "captionseg/expectations/coverage_tables.py": "tests/captionseg/expectations/test_coverage.py",
    **{
        f"captionseg/encoders/{name}.py": "tests/captionseg/encoders/test_clip_file.py"
        for name in ("activation", "open_clip_config", "open_clip_releases", "open_clip_weights")
    },
    "captionseg/encoders/transformers_folder.py": "tests/captionseg/encoders/test_siglip.py",
    "captionseg/grounding/concept_detector.py": "tests/captionseg/grounding/test_sam3.py",
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
    **{
        f"captionseg/expectations/{name}.py": "tests/captionseg/expectations/test_parts.py"
        for name in ("known_pairs", "occurrences", "results", "whole")
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
    "captionseg/reporting/comparison/columns.py": (
        "tests/captionseg/reporting/comparison/test_papers.py"
    ),
    "captionseg/reporting/comparison/plot_files.py": (
        "tests/captionseg/reporting/comparison/test_comparison_page.py"
    ),
    "captionseg/reporting/comparison/results.py": (
        "tests/captionseg/reporting/comparison/test_score_files.py"
    ),
    "captionseg/reporting/comparison/score_tables.py": (
        "tests/captionseg/reporting/comparison/test_own_runs.py"
    ),
    "captionseg/reporting/curation_pictures.py": "tests/captionseg/reporting/test_pictures.py",
    "captionseg/reporting/page.py": "tests/captionseg/reporting/test_report.py",
    "captionseg/reporting/predictions.py": "tests/captionseg/reporting/test_overlay.py",
    "captionseg/shipped/card.py": "tests/captionseg/shipped/test_packing.py",
    "captionseg/runtime/torchscript.py": "tests/captionseg/runtime/test_weights.py",
    "captionseg/tracking/environment.py": "tests/captionseg/tracking/test_recipe_labels.py",
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
    "captionseg/training/rule_rows.py": "tests/captionseg/training/test_preparation.py",
    "captionseg/training/segment_files.py": "tests/captionseg/training/test_segment_set.py",
    "captionseg/training/training_set.py": "tests/captionseg/training/test_loader.py",
    "captionseg/training/sharded.py": "tests/captionseg/training/test_two_processes.py",
    "captionseg/runtime/transformers_folder.py": "tests/captionseg/grounding/test_sam3.py",
    "captionseg/segmenters/sam2.py": "tests/captionseg/segmenters/test_prompted_sam.py",
    "captionseg/segmenters/sam_hq.py": "tests/captionseg/segmenters/test_prompted_sam.py",
}
