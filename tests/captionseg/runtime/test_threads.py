from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from captionseg.runtime import threads
from captionseg.runtime.threads import map_chunks, work_behind


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


def test_items_are_finished_in_order_by_another_thread_one_behind() -> None:
    done, threads = [], set()
    first = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            first.wait(240)
        threads.add(threading.get_ident())
        done.append(item)

    with work_behind(work) as finish:
        finish(0)
        assert done == []  # the caller goes on
        first.set()
        for item in range(1, 5):
            finish(item)
            assert done[:item] == list(range(item))  # those before are done
    assert done == list(range(5))
    assert threading.get_ident() not in threads


def test_what_the_work_raises_arrives_with_the_next_item_or_at_the_end() -> None:
    seen = []

    def work(item: int) -> None:
        seen.append(item)
        raise KeyError(item)

    with work_behind(work) as finish:
        finish(0)
        with pytest.raises(KeyError, match="0"):
            finish(1)
    assert seen == [0]
    with pytest.raises(KeyError, match="2"), work_behind(work) as finish:
        finish(2)
