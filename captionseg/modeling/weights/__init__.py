"""Weights in files: models of this library, weights to start from, checkpoints of others."""
