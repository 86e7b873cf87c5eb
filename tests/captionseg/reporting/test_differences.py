"""Two recipes compared out of what evaluate left: by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from captionseg.benchmarks.areas import write
from captionseg.cli import main
from captionseg.metrics import paired_difference
from captionseg.records import UserError
from captionseg.reporting.differences import compute_difference


def areas(right: int) -> np.ndarray:
    """Three pictures alike, two seeds, two classes of which `right` of 100 pixels each are
    found."""
    found = np.full((3, 2, 3, 2), right)
    found[:, :, 2] = 100
    return found


@pytest.fixture
def folder(tmp_path):
    for name, right in (("a", 60), ("b", 45)):
        write(areas(right), ["x", "y", "z"], [0, 1], tmp_path / f"{name}.parquet")
    return tmp_path


def test_a_difference_by_hand(folder):
    assert compute_difference(folder, "a", "b", samples=20, seed=0) == pytest.approx(
        (15.0, 15.0, 15.0, 1.0)
    )
    assert compute_difference(folder, "b", "a", samples=20, seed=0) == pytest.approx(
        (-15.0, -15.0, -15.0, 0.0)
    )


def test_it_is_the_paired_bootstrap_of_the_areas(folder):
    rng = np.random.default_rng(0)
    one, other = (
        areas(50) + rng.integers(-20, 20, (3, 1, 1, 2)) * [[[[1], [1], [0]]]][0] for _ in range(2)
    )
    for name, found in (("a", one), ("b", other)):
        write(found, ["x", "y", "z"], [0, 1], folder / f"{name}.parquet")
    want = paired_difference(one, other, samples=50, seed=3)
    assert compute_difference(folder, "a", "b", samples=50, seed=3)[:3] == pytest.approx(
        [100 * v for v in want[:3]]
    )


def test_what_is_refused(folder):
    with pytest.raises(UserError, match=r"c.parquet: no areas of this recipe \(found: a, b\)"):
        compute_difference(folder, "a", "c", samples=2, seed=0)
    write(areas(45)[:2], ["x", "other"], [0, 1], folder / "b.parquet")
    with pytest.raises(UserError, match="a and b were not scored on the same pictures"):
        compute_difference(folder, "a", "b", samples=2, seed=0)
    for name in ("a", "b"):
        write(areas(45)[:1], ["x"], [0, 1], folder / f"{name}.parquet")
    with pytest.raises(UserError, match="a and b were scored on one picture, so no interval can"):
        compute_difference(folder, "a", "b", samples=2, seed=0)
    (folder / "b.parquet").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"b\.parquet: cannot be read"):
        compute_difference(folder, "a", "b", samples=2, seed=0)


def test_the_command(folder, capsys):
    assert main(["difference", "a", "b", "--areas", str(folder), "--bootstrap", "5"]) == 0
    assert capsys.readouterr().out == (
        "a minus b: +15.00 mIoU (95 % interval +15.00 to +15.00), better in 100.0 % of 5 "
        "bootstrap samples\n"
    )
    assert main(["difference", "a", "b", "--areas", str(folder), "--bootstrap", "0"]) == 1
    assert "--bootstrap must be at least 1" in capsys.readouterr().err
