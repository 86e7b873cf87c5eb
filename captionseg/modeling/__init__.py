"""Segmentation models, one file each. MODELS holds (config dataclass, module)."""

from captionseg.modeling.groupvit import GroupViT, GroupViTConfig
from captionseg.modeling.ovsegmentor import OVSegmentor, OVSegmentorConfig
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig

MODELS = {"segment_mil": (SegmentMilConfig, SegmentMil), "groupvit": (GroupViTConfig, GroupViT),
          "ovsegmentor": (OVSegmentorConfig, OVSegmentor)}  # fmt: skip

__all__ = ["MODELS", "GroupViT", "GroupViTConfig", "OVSegmentor", "OVSegmentorConfig", "SegmentMil", "SegmentMilConfig"]
