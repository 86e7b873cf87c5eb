"""Captioned images on disk: the shards that sources are written to, their ids, their pictures."""
