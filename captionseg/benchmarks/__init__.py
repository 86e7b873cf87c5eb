"""Benchmarks, and the loop that scores models on them."""
