"""Pairs on disk: writing sources to shards, and reading their tables and images."""
