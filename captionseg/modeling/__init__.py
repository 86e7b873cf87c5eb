"""Segmentation models, one file each."""
