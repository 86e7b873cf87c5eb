"""Sources of captioned images: one module per source.

`source.py` is the interface, `listing.py` the base of sources that list rows first and read images
afterwards, and `sources.py` the dict of all sources.
"""
