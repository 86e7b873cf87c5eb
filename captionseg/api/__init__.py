"""Segments pictures by words from Python; `captionseg.load` is where to start.

The command line is built on it.
"""
