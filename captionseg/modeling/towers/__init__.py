"""Image and text encoders of models, trained or frozen."""
