"""Checks of the whole of params.yaml, including what one section cannot check about another."""
