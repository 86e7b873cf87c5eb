"""Device, precision and ranks: the only package that has heard of them, beside the fit loop."""

from captionseg.runtime.runtime import Runtime, detect, full_precision

__all__ = ["Runtime", "detect", "full_precision"]
