"""Curation: which concepts an image shows besides those that its caption names.

One module per rule.
"""
