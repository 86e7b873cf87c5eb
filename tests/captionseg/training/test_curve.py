import csv

import pytest

from captionseg.training.curve import Curve, read


def fill(curve: Curve, steps: range, score: float = float("nan")) -> None:
    for step in steps:
        curve.step(step, {"loss": 10.0 - step, "caption": 1.0})
    curve.epoch(steps.stop, score)


def test_rows_are_on_disk_when_their_epoch_has_ended(tmp_path):
    told = []
    curve = Curve(
        tmp_path / "seeds" / "curve.csv", 7, lambda values, step: told.append((step, values))
    )
    curve.resume(0)
    fill(curve, range(2), 40.0)
    with (tmp_path / "seeds" / "curve.csv").open() as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["seed", "step", "name", "value"],
        ["7", "0", "loss", "10"],
        ["7", "0", "caption", "1"],
        ["7", "1", "loss", "9"],
        ["7", "1", "caption", "1"],
        ["7", "2", "tune_miou", "40"],
    ]
    assert told == [
        (0, {"seed7.loss": 10.0, "seed7.caption": 1.0}),
        (1, {"seed7.loss": 9.0, "seed7.caption": 1.0}),
        (2, {"seed7.tune_miou": 40.0}),
    ]


def test_no_tune_split_no_row(tmp_path):
    curve = Curve(tmp_path / "curve.csv", 0, lambda *_: None)
    fill(curve, range(1))
    assert [name for _, name, _ in read(tmp_path / "curve.csv")] == ["loss", "caption"]


def test_a_resumed_curve_is_cut_back_to_the_checkpoint_and_goes_on(tmp_path):
    whole, killed = (
        Curve(tmp_path / name, 0, lambda *_: None) for name in ("whole.csv", "killed.csv")
    )
    for curve in (whole, killed):
        curve.resume(0)
        fill(curve, range(3), 30.0)
        fill(curve, range(3, 6), 35.0)
    again = Curve(tmp_path / "killed.csv", 0, lambda *_: None)
    again.resume(3)  # the checkpoint of the first epoch; what the second wrote is forgotten
    assert max(step for step, _, _ in read(tmp_path / "killed.csv")) == 3
    assert (3, "tune_miou", 30.0) in read(tmp_path / "killed.csv")
    fill(again, range(3, 6), 35.0)
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert again.last_loss() == pytest.approx(whole.last_loss())


@pytest.mark.parametrize(
    "torn",
    ["0,", "0,5", "0,5,lo", "0,5,loss", "0,5,loss,", "0,5,loss,-", "0,5,loss,1e", "0,5,loss,4."],
)
def test_a_torn_last_line_is_left_out(tmp_path, torn):
    curve = Curve(tmp_path / "curve.csv", 0, lambda *_: None)
    curve.resume(0)
    fill(curve, range(2), 30.0)
    before = read(tmp_path / "curve.csv")
    with (tmp_path / "curve.csv").open("a") as stream:
        stream.write(torn)
    again = Curve(tmp_path / "curve.csv", 0, lambda *_: None)
    again.resume(2)
    assert read(tmp_path / "curve.csv") == before


def test_no_file_no_rows(tmp_path):
    assert read(tmp_path / "curve.csv") == []


def test_the_last_loss_is_the_mean_of_the_last_tenth(tmp_path):
    curve = Curve(tmp_path / "curve.csv", 0, lambda *_: None)
    for step in range(20):
        curve.step(step, {"loss": float(step)})
    assert curve.last_loss() == (18 + 19) / 2
    one = Curve(tmp_path / "one.csv", 0, lambda *_: None)
    one.step(0, {"loss": 3.0})
    assert one.last_loss() == 3.0
