"""Published benchmarks: where their files lie, what their values mean, names of their classes."""
