"""Layers of segmentation models. They do not depend on losses, devices or data sets."""
