"""The page of `captionseg demo`: segment pictures by words, look at curated data, search segments.

Everything is served by this process, to this machine alone.
"""
