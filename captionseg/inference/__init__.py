"""Inference with a trained model, with numpy inputs and outputs."""
