from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from captionseg.runtime import threads
from captionseg.runtime.threads import map_chunks


@pytest.mark.parametrize("cores", [1, 3])
def test_results_come_in_order_from_libraries_with_one_thread(monkeypatch, cores: int) -> None:
    monkeypatch.setattr(threads, "count_cores", lambda: cores)
    names = set()

    def work(number: int) -> tuple[int, int]:
        names.add(threading.current_thread().name)
        np.ones((20, 20)) @ np.ones((20, 20))
        return number, max(library["num_threads"] for library in threadpool_info())

    assert list(map_chunks(work, range(40))) == [(number, 1) for number in range(40)]
    assert 1 <= len(names) <= cores


def test_an_error_of_a_chunk_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_chunks(lambda number: 1 // number, range(3)))
