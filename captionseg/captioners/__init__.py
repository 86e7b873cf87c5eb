"""Captions generated for pictures that have one already (USE, section 3.1), one captioner a
file.
"""
