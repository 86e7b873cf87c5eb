"""Boxes for phrases, one grounder a file."""
