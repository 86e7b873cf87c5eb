"""Segmentation models, one file each. MODELS holds (config dataclass, module)."""

from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig

MODELS = {"segment_mil": (SegmentMilConfig, SegmentMil)}

__all__ = ["MODELS", "SegmentMil", "SegmentMilConfig"]
