"""Encoders by name."""

from captionseg.encoders.lite0_minilm import Lite0MiniLMParams
from captionseg.encoders.open_clip import OpenClipParams
from captionseg.encoders.siglip import SiglipParams
from captionseg.encoders.tips import TipsParams

ENCODERS = {
    "lite0_minilm": Lite0MiniLMParams,
    "open_clip": OpenClipParams,
    "siglip": SiglipParams,
    "tips": TipsParams,
}

ATTENDING = ("open_clip", "siglip", "tips")
"""Encoders whose last attention can be replaced, see AttendingEncoder."""
