"""Frozen image-text encoders, one file each."""
