"""Segmentation models by name, and published configurations."""

from captionseg.modeling.code_config import CodeConfig, code_released
from captionseg.modeling.code_decomposition import Code
from captionseg.modeling.groupvit import GroupViT, GroupViTConfig, groupvit_small, groupvit_tiny
from captionseg.modeling.maskclip import MaskClip, MaskClipConfig
from captionseg.modeling.naclip import Naclip, NaclipConfig
from captionseg.modeling.ovsegmentor import OVSegmentor
from captionseg.modeling.ovsegmentor_config import (
    OVSegmentorConfig,
    ovsegmentor_base,
    ovsegmentor_released,
)
from captionseg.modeling.proxyclip import ProxyClip, ProxyClipConfig
from captionseg.modeling.sam3 import Sam3, Sam3Config
from captionseg.modeling.sclip import Sclip, SclipConfig
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.tcl import Tcl
from captionseg.modeling.tcl_config import TclConfig, tcl_released
from captionseg.modeling.use import Use
from captionseg.modeling.use_config import UseConfig, use_paper

MODELS = {
    "segment_mil": (SegmentMilConfig, SegmentMil),
    "groupvit": (GroupViTConfig, GroupViT),
    "ovsegmentor": (OVSegmentorConfig, OVSegmentor),
    "maskclip": (MaskClipConfig, MaskClip),
    "sclip": (SclipConfig, Sclip),
    "naclip": (NaclipConfig, Naclip),
    "proxyclip": (ProxyClipConfig, ProxyClip),
    "tcl": (TclConfig, Tcl),
    "code": (CodeConfig, Code),
    "use": (UseConfig, Use),
    "sam3": (Sam3Config, Sam3),
}
"""Name -> class of the config, class of the model."""

PRESETS = {
    "groupvit_small": groupvit_small,
    "groupvit_tiny": groupvit_tiny,
    "ovsegmentor_base": ovsegmentor_base,
    "ovsegmentor_released": ovsegmentor_released,
    "tcl_released": tcl_released,
    "code_released": code_released,
    "use_paper": use_paper,
}
"""Name -> function that returns a published configuration, or a smaller one; recipes may start from
them.
"""
