"""Using a trained model: numpy in, numpy out."""
