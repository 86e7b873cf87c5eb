"""The fit loop: it learns, keeps its best epoch, and a killed fit ends where an uninterrupted one
does.
"""

from __future__ import annotations

import logging
import pickle
import signal
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from captionseg.records import UserError
from captionseg.runtime import RuntimeParams
from captionseg.training.curve import Curve, read
from captionseg.training.fit import ALONE, Fitted, fit, poly_factor, scheduler


@pytest.fixture
def run(make_model, data, params, tmp_path):
    """name, score, model, changed params -> what a fit in the folder of that name leaves."""

    def run(
        name: str,
        score=None,
        model=None,
        *,
        seed: int = 0,
        runtime=ALONE,
        tell=lambda *_: None,
        **changes,
    ) -> Fitted:
        curve = Curve(tmp_path / name / "curve.csv", seed, tell)
        model = model or make_model(seed)
        return fit(
            model,
            data,
            replace(params, **changes),
            seed=seed,
            score=score,
            curve=curve,
            work=tmp_path / name,
            runtime=runtime,
        )

    return run


def losses(path: Path) -> list[float]:
    return [value for _, name, value in read(path) if name == "loss"]


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_loss_goes_down_and_every_step_is_told(run, tmp_path):
    fitted = run("a", epochs=8)
    seen = losses(tmp_path / "a" / "curve.csv")
    assert len(seen) == 8 * (35 // 8)
    assert sum(seen[-4:]) < 0.8 * sum(seen[:4])
    assert fitted.loss == pytest.approx(sum(seen[-3:]) / 3, rel=1e-4)
    assert fitted.tune_miou != fitted.tune_miou  # no tune split
    assert fitted.seconds > 0
    assert fitted.images_per_second > 0


def test_the_same_seed_gives_the_same_weights(run):
    first, again, other = run("a"), run("b"), run("c", seed=1)
    assert equal(first.state, again.state)
    assert not equal(first.state, other.state)


def test_the_best_epoch_is_kept(run):
    scores, states = iter([10.0, 30.0, 20.0, 30.0]), []

    def score(model):
        assert not model.training
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return next(scores)

    fitted = run("a", score)
    assert fitted.tune_miou == 30.0
    assert equal(fitted.state, states[1])  # the first of equals
    assert not equal(states[1], states[3])


def test_without_a_score_the_last_epoch_is_kept(run, make_model):
    model = make_model()
    fitted = run("a", model=model)
    assert equal(fitted.state, {k: v.cpu() for k, v in model.state_dict().items()})


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


@pytest.mark.parametrize(("epoch", "workers"), [(1, 0), (2, 0), (4, 0), (2, 2)])
def test_a_killed_fit_ends_where_an_uninterrupted_one_does(run, tmp_path, epoch, workers):
    """Bit for bit, with dropout, order, draws, optimiser and schedule; killed before the checkpoint
    of that epoch.

    Whatever number of processes prepares the batches.
    """
    whole = run("whole", lambda _: 1.0)
    with pytest.raises(Killed):
        run("killed", killer(epoch), workers=workers)
    torch.rand(100)  # another process has another state of the random numbers
    again = run("killed", lambda _: 1.0, workers=workers)
    curves = [(tmp_path / name / "curve.csv") for name in ("whole", "killed")]
    assert losses(curves[0]) == losses(curves[1])
    assert [step for step, name, _ in read(curves[1]) if name == "loss"] == list(range(16))

    last = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "killed")
    ]
    assert equal(last[0]["state_dict"], last[1]["state_dict"])
    assert again.loss == pytest.approx(whole.loss, rel=1e-5)


@pytest.mark.parametrize(
    ("every", "at", "workers"), [(3, 1, 0), (3, 5, 0), (3, 5, 2), (2, 8, 0), (1, 15, 0)]
)
def test_a_fit_that_is_killed_inside_an_epoch_goes_on_from_there(run, tmp_path, every, at, workers):
    """The same bits again, also of the best epoch's weights, and no step is done twice but those
    after a checkpoint.
    """

    def score(model):
        return sum(float(v.double().abs().sum()) for v in model.state_dict().values())

    def dies(values, step):
        if step == at and "seed0.loss" in values:
            raise Killed

    whole, rested = run("whole", score), []
    with pytest.raises(Killed):
        run(
            "killed",
            score,
            runtime=RuntimeParams(checkpoint_steps=every),
            tell=dies,
            workers=workers,
        )
    again = run(
        "killed",
        score,
        runtime=RuntimeParams(checkpoint_steps=every),
        workers=workers,
        tell=lambda values, step: rested.append(step),
    )
    assert min(rested) == max(n for n in range(at + 1) if n % every == 0 or n % 4 == 0)
    assert again.tune_miou == whole.tune_miou
    assert equal(again.state, whole.state)
    assert (tmp_path / "killed" / "curve.csv").read_bytes() == (
        tmp_path / "whole" / "curve.csv"
    ).read_bytes()
    last = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "killed")
    ]
    assert equal(*last)


def test_what_a_model_counts_survives_a_kill_inside_an_epoch(run, make_model, tmp_path):
    class Counting(type(make_model())):
        """Counts the steps of an epoch, three apiece."""

        def losses(self, *arguments, **options):
            self.steps += 3.0
            return super().losses(*arguments, **options)

        def counted(self):
            found, self.steps = {"steps": self.steps}, 0.0
            return found

    def model():
        made = make_model()
        made.__class__, made.steps = Counting, 0.0
        made.config = replace(made.config)
        reads = replace(made.config.reads, counts=True)
        object.__setattr__(made, "config", SimpleNamespace(**vars(made.config), reads=reads))
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
def test_a_checkpoint_that_cannot_be_read_is_none_and_that_is_said(run, tmp_path, caplog, torn):
    """As it is left by a copy that was killed; and the curve beside it, which the checkpoint counts
    on.
    """

    def dies(values, step):
        if step == 6:
            raise RuntimeError("killed")

    whole = run("whole", epochs=2)
    with pytest.raises(RuntimeError, match="killed"):
        run("killed", epochs=2, tell=dies)
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
    assert curve.read_bytes() == (tmp_path / "whole" / "curve.csv").read_bytes()
    assert (
        len([m for m in caplog.messages if f"{path}: not a checkpoint to go on from (" in m]) == 1
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


def test_a_loss_that_is_no_number_is_one_line(run, make_model):
    model = make_model()
    model.logit_scale.data.fill_(float("nan"))
    with pytest.raises(UserError, match=r"loss is nan at step 0; lower pretrain.learning_rate"):
        run("a", model=model)


def test_the_precision_is_that_of_the_runtime_unless_a_recipe_has_its_own(run):
    half = run("a", runtime=RuntimeParams(precision="bf16"), epochs=1).state
    assert all(torch.isfinite(v).all() for v in half.values())
    assert equal(half, run("b", precision="bf16", epochs=1).state)
    full = run("c", precision="fp32", runtime=RuntimeParams(precision="bf16"), epochs=1).state
    assert equal(full, run("d", epochs=1).state)
    assert not equal(full, half)


def test_a_compiled_model_learns_the_same_and_is_saved_as_itself(
    run, make_model, monkeypatch, tmp_path
):
    asked = []
    whole = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda *a, **k: asked.append(1) or whole(*a, **k, backend="eager")
    )
    model, plain = make_model(), run("a", epochs=1)
    found = run("b", model=model, runtime=RuntimeParams(compile=True), epochs=1)
    assert asked == [1]
    assert model._compiled_call_impl is None
    assert found.state.keys() == plain.state.keys()
    for name, value in plain.state.items():
        torch.testing.assert_close(found.state[name], value, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


def test_sigterm_in_a_fit_is_the_callers(run):
    before, seen = signal.getsignal(signal.SIGTERM), []
    run("a", lambda _: seen.append(signal.getsignal(signal.SIGTERM)) or 1.0, epochs=1)
    assert seen == [before] == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(
    ("runtime", "changes", "message"),
    [
        ({"devices": 3}, {}, r"pretrain.batch: 8 images are no equal parts for the 3 processes"),
        (
            {"nodes": 2},
            {"batch": 9},
            r"pretrain.batch: 9 images are no equal parts for the 2 processes",
        ),
        (
            {"strategy": "fsdp", "precision": "fp16"},
            {},
            r"runtime.strategy fsdp trains at fp32 or bf16, not at fp16",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_line_before_anything_is_started(
    run, runtime, changes, message
):
    with pytest.raises(UserError, match=message):
        run("a", runtime=RuntimeParams(**runtime), **changes)


def test_processes_that_were_not_joined_are_found_out(run):
    with pytest.raises(
        RuntimeError, match=r"2 processes have to be joined first: `with ranks.joined"
    ):
        run("a", runtime=RuntimeParams(devices=2))


def test_a_batch_of_one_is_one_line(run):
    with pytest.raises(
        UserError, match=r"a batch of one image has no negatives.*raise it \(it is 1\)"
    ):
        run("a", batch=1)


def rates(steps: int, params) -> list[float]:
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], lr=params.learning_rate)
    schedule, seen = scheduler(optimiser, params, steps), []
    for _ in range(steps):
        seen.append(schedule.get_last_lr()[0])
        optimiser.step()
        schedule.step()
    return seen


def test_poly_falls_by_its_formula_to_zero(params):
    """Power .9 in each iteration (USE); a warm-up multiplies the first steps."""
    poly = replace(params, schedule="poly", learning_rate=0.001)
    assert rates(10, poly) == pytest.approx([0.001 * (1 - t / 10) ** 0.9 for t in range(10)])
    assert poly_factor(10, 10, 0.9) == 0.0
    linear = rates(8, replace(poly, power=1.0, warmup=4))
    assert linear == pytest.approx(
        [1e-3 * f for f in (1 / 4, 7 / 16, 9 / 16, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8)]
    )


def test_one_cycle_is_the_default_and_torchs(params):
    seen = rates(20, params)
    assert seen[0] == pytest.approx(params.learning_rate / 25)
    assert max(seen) == pytest.approx(params.learning_rate, rel=0.01)
    assert seen[-1] < 1e-6


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


def test_a_warm_up_that_never_ends_is_refused(params):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    few = replace(params, schedule="poly", warmup=5)
    with pytest.raises(
        UserError, match=r"pretrain\.warmup: 5 steps are more than the 4 of the training"
    ):
        scheduler(optimiser, few, 4)


@pytest.mark.parametrize("changes", [{"power": 0.0}, {"warmup": -1}])
def test_a_schedule_that_makes_no_sense_is_refused(params, changes):
    with pytest.raises(ValueError, match="power must be above 0, warmup not below 0"):
        replace(params, **changes)
