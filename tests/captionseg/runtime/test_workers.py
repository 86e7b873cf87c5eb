"""What every worker answers, whichever kind it is."""

import os

import threadpoolctl

from captionseg.records import UserError
from captionseg.runtime.workers import ATTEMPTS, Answer, answer_job, limit_threads, make_death_error


def test_a_result_and_a_failure_are_answers():
    assert answer_job(abs, 3, -2) == Answer(3, True, 2)
    number, well, error = answer_job(abs, 4, "x")
    assert (number, well, type(error)) == (4, False, TypeError)
    assert error.__notes__[0].startswith("in a worker:\nTraceback")


def test_a_mistake_of_the_users_says_what_it_says_and_no_more():
    def work(job):
        raise UserError(job)

    _, well, error = answer_job(work, 0, "too long")
    assert (well, str(error), getattr(error, "__notes__", [])) == (False, "too long", [])


def test_a_job_that_no_worker_outlives_is_named_with_what_to_do():
    said = str(make_death_error("shard 7", "killed"))
    assert said.startswith(f"shard 7: its worker died {ATTEMPTS} times (killed)")
    assert "lower runtime.workers" in said


def test_threads_are_limited_for_libraries_that_come_later_too(monkeypatch):
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "9")
    asked = []
    monkeypatch.setattr(threadpoolctl, "threadpool_limits", asked.append)
    limit_threads(2)
    assert asked == [2]
    assert {os.environ[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL")} == {"2"}
