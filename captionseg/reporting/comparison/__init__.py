"""reports/comparison.md and .html: every recipe on every benchmark, beside the tables of the
papers.
"""
