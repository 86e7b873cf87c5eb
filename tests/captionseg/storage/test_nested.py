"""Leaves of nested mappings and their names."""

from __future__ import annotations

from captionseg.storage.nested import flatten, list_leaves


def test_leaves_have_their_paths_and_empty_mappings_are_leaves():
    values = {"a": {"b": 1, 2: {}}, "c": [{"d": 3}]}
    assert dict(list_leaves(values)) == {("a", "b"): 1, ("a", "2"): {}, ("c",): [{"d": 3}]}
    assert list(list_leaves({})) == []


def test_flatten_gives_the_names_that_dvc_shows():
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None, "f": {}}) == {
        "a.b.c": 1,
        "a.d": [2],
        "e": None,
    }
