"""Reports of a stage that does not end well are as they were, also where nobody was left to put
them back.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.plan import Stage, read
from flows.report_backup import PLACE, preserve_reports, recover

ROOT = Path(__file__).parents[2]
STAGE = Stage(
    "evaluate@a/b", reports=("reports/a.json", "reports/pictures", "../outside", "reports/never")
)


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "reports" / "pictures" / "deep").mkdir(parents=True)
    (root / "reports" / "a.json").write_text("old")
    (root / "reports" / "pictures" / "deep" / "x.jpg").write_text("old")
    (tmp_path / "outside").write_text("not ours")
    return root


def empty(root):
    """As DVC does before a stage runs."""
    (root / "reports" / "a.json").unlink()
    (root / "reports" / "pictures" / "deep" / "x.jpg").unlink()
    (root / "reports" / "pictures" / "deep").rmdir()
    (root / "reports" / "pictures").rmdir()


def texts(root):
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and ".dvc" not in path.parts
    }


OLD = {"reports/a.json": "old", "reports/pictures/deep/x.jpg": "old"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_is_missing_after_a_failure_is_put_back(root, error):
    with pytest.raises(error), preserve_reports(root, STAGE):  # noqa: PT012
        empty(root)
        raise error
    assert texts(root) == OLD
    assert not list((root / PLACE).iterdir())


def test_what_the_stage_wrote_stays(root):
    with preserve_reports(root, STAGE):
        empty(root)
        (root / "reports" / "a.json").write_text("new")
    assert texts(root) == {"reports/a.json": "new"}, "it ended well, and wrote no pictures"
    with pytest.raises(ValueError), preserve_reports(root, STAGE):  # noqa: PT011, PT012
        (root / "reports" / "a.json").write_text("newer")
        raise ValueError
    assert texts(root) == {"reports/a.json": "newer"}


def test_the_next_run_puts_back_what_a_killed_one_could_not_and_says_so(root):
    program = (
        "import os; from pathlib import Path; from flows.plan import Stage; from "
        "flows.report_backup import preserve_reports\n"
        f"with preserve_reports(Path({str(root)!r}), {STAGE!r}): os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == -9
    (root / PLACE / "half.part" / "reports").mkdir(parents=True)
    (root / PLACE / "half.part" / "reports" / "torn.json").write_text("{")
    empty(root)
    said = []
    recover(root, said.append)
    assert texts(root) == OLD
    assert said == ["restored 2 reports of stage evaluate@a%2Fb, whose run was killed"]
    recover(root, said.append)
    assert len(said) == 1
    assert not list((root / PLACE).iterdir())


def test_reports_are_the_outs_that_git_has(repository):
    root = repository(
        "stages: {a: {cmd: x, outs: [data, {kept: {cache: false, persist: true}}, {page: {cache: "
        "false}}], metrics: [m.json: {cache: false}]}}"
    )
    (stage,) = read(root)
    assert stage.reports == ("page", "m.json")
    assert set(stage.outs) == {"data", "kept", "page", "m.json"}
