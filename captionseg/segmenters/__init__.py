"""Class-agnostic regions of pictures, overlapping class-agnostic masks, and masks for boxes."""
