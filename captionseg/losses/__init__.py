"""Losses: pure functions of tensors. They know no device, no precision and no rank."""
