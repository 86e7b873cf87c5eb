"""The report of a run: metrics.json, plots, pictures and one page."""
