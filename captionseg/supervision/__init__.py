"""Supervision: what models learn from. Curation writes it, everything after curation reads it.

`columns` is its form in memory, `files` the tables on disk, `sampling` the draw of one training
step.
"""
