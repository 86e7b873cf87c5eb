"""Benchmarks of stage `evaluate` by name."""

from captionseg.benchmarks.held_out import HeldOut

BENCHMARKS = {"held_out": HeldOut}
