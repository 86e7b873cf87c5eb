"""Benchmarks: what a model is scored on, and the one loop that does it."""
