"""reports/comparison.md and .html: every recipe on every benchmark, next to the papers' tables."""
