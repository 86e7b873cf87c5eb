"""Segmentation models, one file each. MODELS holds (config dataclass, module)."""

from captionseg.modeling.groupvit import GroupViT, GroupViTConfig
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig

MODELS = {"segment_mil": (SegmentMilConfig, SegmentMil), "groupvit": (GroupViTConfig, GroupViT)}

__all__ = ["MODELS", "GroupViT", "GroupViTConfig", "SegmentMil", "SegmentMilConfig"]
