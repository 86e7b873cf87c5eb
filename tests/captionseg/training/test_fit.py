"""The fit loop: it learns, keeps its best epoch, follows its schedule, and says in one line what is
wrong.
"""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from pathlib import Path

import jaxtyping
import pytest
import torch

from captionseg.records import UserError
from captionseg.runtime.params import RuntimeParams
from captionseg.training.curve import Curve, read
from captionseg.training.lightning_module import LightningSegmenter
from captionseg.training.schedule import cosine_factor, make_scheduler, poly_factor


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


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_compiled_model_learns_the_same_and_is_saved_as_itself(
    run, make_model, monkeypatch, tmp_path
):
    # torch's compiler cannot follow the checks of shapes
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
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
        ({"devices": 3}, {}, r"pretrain.batch: 8 cannot be split evenly over the 3 processes"),
        (
            {"nodes": 2},
            {"batch": 9},
            r"pretrain.batch: 9 cannot be split evenly over the 2 processes",
        ),
        (
            {"strategy": "fsdp", "precision": "fp16"},
            {},
            r"runtime.strategy: fsdp does not support fp16",
        ),
    ],
)
def test_what_does_not_fit_together_is_one_line_before_anything_is_started(
    run, runtime, changes, message
):
    with pytest.raises(UserError, match=message):
        run("a", runtime=RuntimeParams(**runtime), **changes)


def test_processes_that_were_not_joined_are_found_out(run):
    with pytest.raises(RuntimeError, match=r"join the 2 processes first: `with ranks.join_ranks"):
        run("a", runtime=RuntimeParams(devices=2))


def test_a_batch_of_one_is_one_line(run):
    with pytest.raises(
        UserError, match=r"a batch of one picture has no negatives.*raise it \(now 1\)"
    ):
        run("a", batch=1)


def rates(steps: int, params) -> list[float]:
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], lr=params.learning_rate)
    schedule, seen = make_scheduler(optimiser, params, steps), []
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


def test_warm_up_and_cosine_by_hand(params):
    """GroupViT's and CoCu's schedule at a batch of 1024: 2 of 30 epochs from 1e-6 to 4e-4, then to
    1e-5; here of 4 steps. OVSegmentor's first stage likewise, from 8e-6 to 3.2e-4 and to 8e-5.
    """
    rate = replace(
        params,
        schedule="warmup_cosine",
        epochs=30,
        learning_rate=4e-4,
        warmup=2,
        warmup_unit="epochs",
        warmup_from=0.0025,
        floor=0.025,
    )
    found = rates(120, rate)
    first, last_of_warm_up = 1e-6, 1e-6 + 7 / 8 * (4e-4 - 1e-6)
    assert (found[0], found[7]) == pytest.approx((first, last_of_warm_up))
    # the cosine began in the first step
    assert found[8] == pytest.approx(3.957e-4, rel=1e-4)
    assert found[60] == pytest.approx((4e-4 + 1e-5) / 2)
    assert found[119] == pytest.approx(1e-5 + 3.9e-4 * 0.5 * (1 - math.cos(math.pi / 120)))
    assert found[119] == pytest.approx(1e-5, rel=0.01)
    steps = replace(rate, learning_rate=3.2e-4, warmup=8, warmup_unit="steps", floor=0.25)
    found = rates(120, replace(steps, warmup_from=0.025))
    assert (found[0], found[60]) == pytest.approx((8e-6, 2e-4))
    assert cosine_factor(120, 120, warmup=8, warmup_from=0.025, floor=0.25) == 0.25


def test_scalars_decay_as_in_groupvits_code_if_asked_to(params):
    net = torch.nn.ParameterDict(
        {"matrix": torch.zeros(2, 2), "vector": torch.zeros(2), "scale": torch.zeros(())}
    )

    def decayed(changed) -> list[str]:
        module = LightningSegmenter(net, changed, 10, Curve(None, 0, lambda *_: None))
        group = module.configure_optimizers()["optimizer"].param_groups[0]
        assert group["weight_decay"] == params.weight_decay
        return [name for name, w in net.items() if any(w is p for p in group["params"])]

    assert decayed(params) == ["matrix"]
    assert decayed(replace(params, decay_scalars=True)) == ["matrix", "scale"]


def test_one_cycle_is_the_default_and_torchs(params):
    seen = rates(20, params)
    assert seen[0] == pytest.approx(params.learning_rate / 25)
    assert max(seen) == pytest.approx(params.learning_rate, rel=0.01)
    assert seen[-1] < 1e-6


def test_a_warm_up_that_never_ends_is_refused(params):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    few = replace(params, schedule="poly", warmup=5)
    with pytest.raises(UserError, match=r"pretrain\.warmup: 5 is more than the 4 training steps"):
        make_scheduler(optimiser, few, 4)
    long = replace(params, schedule="warmup_cosine", warmup=3, warmup_unit="epochs", epochs=2)
    with pytest.raises(UserError, match=r"pretrain\.warmup: 3 epochs are more than the 2 of"):
        make_scheduler(optimiser, long, 4)


@pytest.mark.parametrize("changes", [{"power": 0.0}, {"warmup": -1}])
def test_a_schedule_that_makes_no_sense_is_refused(params, changes):
    with pytest.raises(ValueError, match="power must be above 0, and warmup must not be negative"):
        replace(params, **changes)
