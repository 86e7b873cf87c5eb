"""Encoders by name."""

from captionseg.encoders.lite0_minilm import Lite0MiniLMParams
from captionseg.encoders.open_clip import OpenClipParams

ENCODERS = {"lite0_minilm": Lite0MiniLMParams, "open_clip": OpenClipParams}
