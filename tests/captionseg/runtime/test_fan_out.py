"""Jobs over processes and over Ray: their order, their failures, and what a killed worker costs."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import fan_out_jobs as jobs
import pytest

from captionseg.records import UserError
from captionseg.runtime import fan_out
from captionseg.runtime.fan_out import PerProcess, count_cores, count_workers, list_places, spread
from captionseg.runtime.params import HERE, RuntimeParams
from captionseg.runtime.workers import ATTEMPTS, Answer

TWO = RuntimeParams(workers=2)


@pytest.fixture(params=["processes", "ray"])
def several(request: pytest.FixtureRequest) -> RuntimeParams:
    return TWO if request.param == "processes" else request.getfixturevalue("cluster")


def begun(folder: Path) -> dict[int, int]:
    """How often each job was begun."""
    return {int(file.stem): len(file.read_text().splitlines()) for file in folder.glob("*.log")}


def test_results_come_in_the_order_of_the_jobs_from_other_processes(several: RuntimeParams) -> None:
    found = list(spread(jobs.told, range(6), several))
    assert [number for number, _ in found] == list(range(6))
    assert len({process for _, process in found}) >= 2


def test_one_worker_or_one_job_stays_here() -> None:
    assert list(spread(lambda job: job + 1, [1, 2], HERE)) == [2, 3]
    assert list(spread(lambda job: job + 1, [1], TWO)) == [2]
    assert list(spread(lambda job: job + 1, [], RuntimeParams(fan_out="ray"))) == []
    assert list(spread(lambda job: job + 1, [1, 2], TWO, device="cuda:1")) == [2, 3]


def test_a_mistake_of_the_users_arrives_as_it_was_raised_and_ends_the_rest(
    several: RuntimeParams, tmp_path
) -> None:
    work = functools.partial(jobs.logged, tmp_path)
    with pytest.raises(UserError) as caught:
        list(spread(work, range(400), several))
    assert str(caught.value) == "job 2: cannot be done; do another"
    assert len(begun(tmp_path)) < 400


def test_another_exception_says_where_it_was_raised(several: RuntimeParams) -> None:
    with pytest.raises(KeyError) as caught:
        list(spread(jobs.broken, range(3), several))
    assert "fan_out_jobs.py" in caught.value.__notes__[0]


def test_a_killed_worker_costs_its_own_job_alone(several: RuntimeParams, tmp_path) -> None:
    work = functools.partial(jobs.killed, tmp_path, 1)
    assert list(spread(work, range(6), several)) == list(range(6))
    assert begun(tmp_path) == {0: 1, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1}


def test_a_job_that_kills_every_worker_is_named(several: RuntimeParams, tmp_path) -> None:
    work = functools.partial(jobs.killed, tmp_path, 9)
    with pytest.raises(
        UserError, match=r"^shard 1: its worker died 3 times .* lower runtime.workers"
    ) as caught:
        list(spread(work, range(2), several, called=lambda job: f"shard {job}"))
    assert "\n" not in str(caught.value)
    assert begun(tmp_path)[1] == ATTEMPTS


def test_each_worker_has_the_threads_that_were_asked_for(several: RuntimeParams) -> None:
    found = list(spread(functools.partial(jobs.place, 0.0), range(2), several, threads=3))
    assert [threads for *_, threads in found] == ["3", "3"]


def test_processes_share_the_gpus_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "list_visible_gpus", lambda: ["3", "5"])
    monkeypatch.setattr(fan_out, "count_cores", lambda: 8)
    assert list_places(RuntimeParams(), 9, device="auto", threads=1) == ["3", "5"]
    assert list_places(RuntimeParams(gpu_share=0.5), 9, device="cuda", threads=1) == [
        "3",
        "5",
        "3",
        "5",
    ]
    assert list_places(RuntimeParams(gpu_share=0.1, workers=3), 9, device="auto", threads=1) == [
        "3",
        "5",
        "3",
    ]
    assert list_places(RuntimeParams(), 9, device="cpu", threads=3) == [None] * 2
    assert list_places(RuntimeParams(workers=5), 4, device="cpu", threads=8) == [None] * 4
    monkeypatch.setattr(fan_out, "list_visible_gpus", list)
    assert list_places(RuntimeParams(), 9, device="auto", threads=1) == [None] * 8
    found = list(spread(functools.partial(jobs.place, 0.0), range(2), TWO, device="auto"))
    assert [gpu for _, _, gpu, _ in found] == ["", ""]


class Reversed:
    """Workers that answer the latest job first, two at a time."""

    def __init__(self) -> None:
        self.out: list[int] = []
        self.most, self.closed = 0, False

    def room(self, busy: int) -> bool:
        assert busy == len(self.out)
        return busy < 2

    def send(self, number: int, job: str) -> None:
        self.out.append(number)
        self.most = max(self.most, len(self.out))

    def receive(self) -> Answer:
        number = self.out.pop()
        return Answer(number, True, number)

    def close(self) -> None:
        self.closed = True


def test_no_more_jobs_are_out_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Reversed()
    monkeypatch.setattr(fan_out, "_start_workers", lambda *_: workers)
    assert list(spread(str, list("abcdefg"), TWO)) == list(range(7))
    assert (workers.most, workers.closed) == (2, True)


def test_what_is_made_once_is_made_by_each_process() -> None:
    made = PerProcess(functools.partial(jobs.square, 3))
    assert made() == made() == 9
    assert made.__getstate__()["made"] is None
    assert PerProcess(functools.partial(jobs.square, 3), made=4)() == 4


def test_torch_is_not_imported() -> None:
    code = (
        "import sys, captionseg.runtime.processes, captionseg.runtime.ray_tasks; "
        "sys.exit('torch' in sys.modules)"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[3])}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )


def test_how_many_workers_there_will_be() -> None:
    assert count_workers(RuntimeParams(workers=3), 10) == 3
    assert count_workers(RuntimeParams(workers=3), 2) == 2
    assert count_workers(RuntimeParams(), 10**6) == count_cores()
    assert count_workers(RuntimeParams(fan_out="ray"), 10) == 0
    assert count_workers(RuntimeParams(fan_out="ray", workers=4), 10) == 4
