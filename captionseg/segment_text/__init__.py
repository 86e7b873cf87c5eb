"""Segments with texts: phrases -> boxes -> masks -> near-duplicates merged (USE, Wang et al.
2024)."""
