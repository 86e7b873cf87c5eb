"""A killed fit ends where an uninterrupted one does."""

from __future__ import annotations

import logging
import pickle
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from captionseg.runtime.params import RuntimeParams
from captionseg.training.curve import read
from tests.captionseg.training.test_fit import equal, losses


class Killed(Exception):
    """Stands for a SIGKILL: nothing after it runs."""


def killer(at: int):
    calls = []

    def score(_):
        calls.append(1)
        if len(calls) == at:
            raise Killed
        return float(len(calls))

    return score


def weigh(model) -> float:
    return sum(float(v.double().abs().sum()) for v in model.state_dict().values())


@pytest.fixture(scope="module")
def undisturbed(run_in, tmp_path_factory):
    """Fits that nothing interrupts, by name, as (folder, result); a test reads them."""
    root = tmp_path_factory.mktemp("undisturbed")
    run = run_in(root)
    made = {
        "alike": run("alike", lambda _: 1.0),
        "weighed": run("weighed", weigh),
        "short": run("short", epochs=2),
    }
    return {name: (root / name, result) for name, result in made.items()}


@pytest.fixture(scope="module")
def stopped(run_in, tmp_path_factory) -> Path:
    """The folder of a fit of two epochs that ended in its second, for copies of it."""

    def dies(values, step):
        if step == 6:
            raise RuntimeError("killed")

    root = tmp_path_factory.mktemp("stopped")
    with pytest.raises(RuntimeError, match="killed"):
        run_in(root)("killed", epochs=2, tell=dies)
    return root / "killed"


@pytest.mark.parametrize(("epoch", "workers"), [(1, 0), (2, 0), (4, 0), (2, 2)])
def test_a_killed_fit_ends_where_an_uninterrupted_one_does(
    run, undisturbed, tmp_path, epoch, workers
):
    """Bit for bit, with dropout, order, draws, optimiser and schedule; killed before the checkpoint
    of that epoch.

    Whatever number of processes prepares the batches.
    """
    folder, whole = undisturbed["alike"]
    with pytest.raises(Killed):
        run("killed", killer(epoch), workers=workers)
    torch.rand(100)  # another process has another state of the random numbers
    again = run("killed", lambda _: 1.0, workers=workers)
    folders = (folder, tmp_path / "killed")
    curves = [one / "curve.csv" for one in folders]
    assert losses(curves[0]) == losses(curves[1])
    assert [step for step, name, _ in read(curves[1]) if name == "loss"] == list(range(16))

    last = [torch.load(one / "last.ckpt", weights_only=True) for one in folders]
    assert equal(last[0]["state_dict"], last[1]["state_dict"])
    assert again.loss == pytest.approx(whole.loss, rel=1e-5)


@pytest.mark.parametrize(
    ("every", "at", "workers"), [(3, 1, 0), (3, 5, 0), (3, 5, 2), (2, 8, 0), (1, 15, 0)]
)
def test_a_fit_that_is_killed_inside_an_epoch_goes_on_from_there(
    run, undisturbed, tmp_path, every, at, workers
):
    """The same bits again, also of the best epoch's weights, and no step is done twice but those
    after a checkpoint.
    """

    def dies(values, step):
        if step == at and "seed0.loss" in values:
            raise Killed

    (folder, whole), rested = undisturbed["weighed"], []
    with pytest.raises(Killed):
        run(
            "killed",
            weigh,
            runtime=RuntimeParams(checkpoint_steps=every),
            tell=dies,
            workers=workers,
        )
    again = run(
        "killed",
        weigh,
        runtime=RuntimeParams(checkpoint_steps=every),
        workers=workers,
        tell=lambda values, step: rested.append(step),
    )
    assert min(rested) == max(n for n in range(at + 1) if n % every == 0 or n % 4 == 0)
    assert again.tune_miou == whole.tune_miou
    assert equal(again.state, whole.state)
    folders = (folder, tmp_path / "killed")
    first, second = ((one / "curve.csv").read_bytes() for one in folders)
    assert first == second
    last = [torch.load(one / "last.ckpt", weights_only=True)["state_dict"] for one in folders]
    assert equal(*last)


def test_what_a_model_counts_survives_a_kill_inside_an_epoch(run, make_model, tmp_path):
    class Counting(type(make_model())):
        """Counts the steps of an epoch, three apiece."""

        def losses(self, *arguments, **options):
            self.steps += 3.0
            return super().losses(*arguments, **options)

        def take_counts(self):
            found, self.steps = {"steps": self.steps}, 0.0
            return found

    def model():
        made = make_model()
        made.__class__, made.steps = Counting, 0.0
        return made

    def dies(values, step):
        if step == 6:
            raise Killed

    runtime = RuntimeParams(checkpoint_steps=2)
    with pytest.raises(Killed):
        run("a", model=model(), runtime=runtime, tell=dies)
    run("a", model=model(), runtime=runtime)
    counted = [
        (step, value) for step, name, value in read(tmp_path / "a" / "curve.csv") if name == "steps"
    ]
    assert counted == [(3, 12.0), (7, 12.0), (11, 12.0), (15, 12.0)]


@pytest.mark.parametrize("torn", ["cut", "empty", "zeros", "pickle", "curve"])
def test_a_checkpoint_that_cannot_be_read_is_none_and_that_is_said(
    run, undisturbed, stopped, tmp_path, caplog, torn
):
    """As it is left by a copy that was killed; and the curve beside it, which the checkpoint counts
    on.
    """
    folder, whole = undisturbed["short"]
    shutil.copytree(stopped, tmp_path / "killed")
    path, curve = tmp_path / "killed" / "last.ckpt", tmp_path / "killed" / "curve.csv"
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[:-1000], "empty": b"", "pickle": pickle.dumps(eval)}.get(torn, data)
    )
    if torn == "zeros":  # of the right length
        path.write_bytes(data[:3000] + bytes(2000) + data[5000:])
    if torn == "curve":
        curve.write_text("".join(curve.read_text().splitlines(keepends=True)[:3]))
    with caplog.at_level(logging.WARNING, "captionseg"):
        again = run("killed", epochs=2)
    assert equal(again.state, whole.state)
    assert curve.read_bytes() == (folder / "curve.csv").read_bytes()
    assert (
        len([m for m in caplog.messages if f"{path}: cannot resume from this checkpoint (" in m])
        == 1
    )


def test_checkpoints_are_written_beside_their_place(run, tmp_path, monkeypatch):
    """Not in TMPDIR, from where another disk gets a copy that a kill leaves half done."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    replaced, seen = Path.replace, []
    monkeypatch.setattr(
        Path, "replace", lambda self, to: seen.append((self, to)) or replaced(self, to)
    )
    run("a", epochs=1)
    moves = [(source, target) for source, target in seen if target.name == "last.ckpt"]
    assert moves
    assert all(source.parent == target.parent == tmp_path / "a" for source, target in moves)


def test_the_best_epoch_survives_a_kill(run):
    def first_is_best(calls: list[int]):
        return lambda _: calls.append(1) or 100.0 - len(calls)

    whole = run("whole", first_is_best([]))
    calls = []

    def score(_):
        calls.append(1)
        if len(calls) == 3:
            raise Killed
        return 100.0 - len(calls)

    with pytest.raises(Killed):
        run("killed", score)
    again = run("killed", lambda _: 50.0)
    assert again.tune_miou == whole.tune_miou == 99.0
    assert equal(again.state, whole.state)


def test_a_fit_that_was_done_is_not_done_again(run, tmp_path):
    first = run("a", lambda _: 5.0)
    before = (tmp_path / "a" / "curve.csv").read_bytes()
    again = run("a", killer(1))
    assert equal(first.state, again.state)
    assert (again.tune_miou, (tmp_path / "a" / "curve.csv").read_bytes()) == (5.0, before)


def test_another_schedule_is_another_fit_and_can_be_resumed(run, tmp_path):
    whole = run("a", lambda _: 1.0, schedule="poly")
    assert not equal(whole.state, run("b", lambda _: 1.0).state)
    with pytest.raises(Killed):
        run("c", killer(2), schedule="poly")
    run("c", lambda _: 1.0, schedule="poly")
    last = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("a", "c")
    ]
    assert equal(*last)
