"""Whose data numbers are of; what cannot be measured on them is tested with the gate."""

import pytest

from captionseg.gate.data import RunData


@pytest.mark.parametrize(
    ("here", "there", "other"),
    [
        ({"source": "folder", "digest": "a"}, {"source": "folder", "digest": "a"}, False),
        ({"source": "folder", "digest": "a"}, {"source": "folder", "digest": "b"}, True),
        # of a version that wrote no digest
        ({"source": "folder", "digest": "a"}, {"source": "folder"}, False),
        ({"source": "folder", "digest": "a"}, {"source": "shapes"}, True),
        ({"source": "folder"}, {}, False),
        ({}, {}, False),
        ({"source": "folder"}, "nonsense", False),
    ],
)
def test_data_differ_by_digest_else_by_source(here, there, other):
    assert RunData.of({"data": here}).differs(RunData.of({"data": there})) is other
    assert RunData.of({"data": there}).differs(RunData.of({"data": here})) is other


def test_where_the_file_does_not_say_the_params_do():
    assert RunData.of({"data": {"pairs": 3}}, "folder").source == "folder"
    assert RunData.of({"data": {"source": "shapes"}}, "folder").source == "shapes"
    assert not RunData.of({}).lacks("test")  # nothing is known, so nothing is excused
    assert RunData.of({"data": {"masks": {"test": 0}}}).lacks("test")
    assert not RunData.of({"data": {"masks": {"test": 5}}}).lacks("test")
