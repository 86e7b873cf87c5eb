"""Using a trained model: numpy in, numpy out."""

from captionseg.inference.detections import Detections
from captionseg.inference.predictor import Predictor, read_image
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol, WindowParams

__all__ = ["Detections", "Predictor", "Protocol", "RefineParams", "WindowParams", "read_image"]
