"""Class-agnostic regions of whole pictures, overlapping class-agnostic masks, and masks for
boxes.
"""
