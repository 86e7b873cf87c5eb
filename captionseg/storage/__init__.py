"""Atomic writing of files, and reading of files and folders."""
