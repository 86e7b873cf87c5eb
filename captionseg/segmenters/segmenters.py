"""Segmenters of boxes by name."""

from captionseg.segmenters.sam import Sam
from captionseg.segmenters.sam2 import Sam2
from captionseg.segmenters.sam_hq import SamHq
from captionseg.segmenters.superpixels import Superpixels

SEGMENTERS = {"superpixels": Superpixels, "sam": Sam, "sam2": Sam2, "sam_hq": SamHq}
