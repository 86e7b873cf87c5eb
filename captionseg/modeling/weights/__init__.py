"""Weights in files: saved models, initial weights, and checkpoints of other libraries."""
