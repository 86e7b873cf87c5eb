"""Image files in folders: their paths, their bytes, and the captions beside them."""
