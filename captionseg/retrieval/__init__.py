"""Nearest neighbours by inner product: exact and faiss, one file each."""
