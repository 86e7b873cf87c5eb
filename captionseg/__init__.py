"""captionseg: captioned images into pixel supervision and open-vocabulary segmentation models."""

__version__ = "0.1.0"
