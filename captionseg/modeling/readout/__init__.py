"""Converts scores of groups and regions to scores and labels of pixels."""
