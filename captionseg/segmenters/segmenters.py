"""Segmenters of boxes by name."""

from captionseg.segmenters.sam import Sam
from captionseg.segmenters.superpixels import Superpixels

SEGMENTERS = {"superpixels": Superpixels, "sam": Sam}
