"""Supervision: what models learn from. Curation writes it, everything after curation reads it.

`columns` is the one form of it in memory, `files` the tables on disk, `sampling` the draw of one
training step.
"""
