"""Masks: class-agnostic regions of whole pictures, class-agnostic masks that may overlap, and masks
for boxes.
"""
