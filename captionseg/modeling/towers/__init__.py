"""Encoders of images and texts that models are made of, trained or frozen."""
