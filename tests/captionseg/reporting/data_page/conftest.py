"""Rows of pairs, as the stage download leaves them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from captionseg.records import PAIRS
from captionseg.reporting.data_page.outcomes import read_rows
from tests.captionseg.lineage.conftest import list_rows, write_shard


def table(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=PAIRS)


@pytest.fixture
def rows(tmp_path) -> pa.Table:
    train, test = list_rows()
    write_shard(tmp_path, "00000", train)
    write_shard(tmp_path, "00001", test)
    return read_rows(tmp_path)
