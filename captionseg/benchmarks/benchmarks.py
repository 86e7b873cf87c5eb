"""Benchmarks of stage `evaluate` by name."""

from captionseg.benchmarks.own_split import HeldOut

BENCHMARKS = {"held_out": HeldOut}
