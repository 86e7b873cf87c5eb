"""Using a trained model: numpy in, numpy out."""

from captionseg.inference.predictor import Predictor, read_image

__all__ = ["Predictor", "read_image"]
