"""The gate: may this run be merged? Thresholds, regressions, and dvc.lock."""
