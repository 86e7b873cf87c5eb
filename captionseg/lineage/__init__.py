"""Lineage: where a pair came from, and what every stage made of it.

`lookup` finds pairs, `history` reads what the stages left of one, `lines` puts it into words.
Nothing here imports torch: an answer comes at once.
"""
