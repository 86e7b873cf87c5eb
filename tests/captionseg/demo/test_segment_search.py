"""The search finds what `captionseg query-segments` finds."""

from __future__ import annotations

import pytest

from captionseg.demo.segment_search import SegmentSearch
from captionseg.lineage.history import Places
from captionseg.records import UserError


def test_search_finds_what_the_command_finds(run, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for folder in run.places.data.iterdir():
        if folder.name != "segment_index":
            (data / folder.name).symlink_to(folder)
    search = SegmentSearch(Places(data), run.places.models / "use", "cpu")
    assert (search.missing, search.is_open) == ("", False)
    with pytest.raises(UserError, match="words: type what to search for"):
        search.search("  ")
    hits = search.search(" a  dog ")
    assert search.is_open
    assert [hit.hit.rank for hit in hits] == list(range(1, 21))
    assert all(hit.texts == ["a dog", "something"] for hit in hits[:5])
    assert "No model of segments" in SegmentSearch(Places(data), None).missing
