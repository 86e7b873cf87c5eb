"""The stage hands params and paths on; what failed lies where no clean-up of a failed stage reaches."""

from pathlib import Path

import pytest

from captionseg.params import Params
from captionseg.records import UserError
from stages import run, validate
from stages.kinds import Out


def test_thresholds_and_folders(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "params.yaml").write_text("validate: {min_success: 0.75}")
    seen: dict = {}
    monkeypatch.setattr(validate, "validate", lambda *args, **kwargs: seen.update(args=args, **kwargs) or {})
    paths = {name: tmp_path / name for name in ("pairs", "supervision", "segments", "docs", "summary", "verdict")}
    validate.main(Params(tmp_path / "params.yaml"), **paths)
    pairs, params = seen["args"]
    assert (pairs, params.min_success) == (paths["pairs"], 0.75)
    assert (seen["docs"], seen["report"]) == (paths["docs"], paths["summary"])
    assert (seen["supervision_folder"], seen["segments_folder"]) == (paths["supervision"], paths["segments"])
    assert paths["verdict"].read_text() == '{\n  "success": true\n}\n'
    assert seen["failed"] == Path(".work/validate-failed")


def test_no_verdict_on_data_that_fail(tmp_path: Path, monkeypatch) -> None:
    def fails(*args, **kwargs):
        raise UserError("no")

    (tmp_path / "params.yaml").write_text("")
    monkeypatch.setattr(validate, "validate", fails)
    paths = {name: tmp_path / name for name in ("pairs", "supervision", "segments", "docs", "summary", "verdict")}
    with pytest.raises(UserError):
        validate.main(Params(tmp_path / "params.yaml"), **paths)
    assert not paths["verdict"].exists()


def test_all_outputs_are_outputs(tmp_path: Path) -> None:
    for name in ("p", "s", "g"):
        (tmp_path / name).mkdir()
    argv = [
        f"--pairs={tmp_path}/p",
        f"--supervision={tmp_path}/s",
        f"--segments={tmp_path}/g",
        "--docs=d",
        "--summary=j",
        "--verdict=v",
    ]
    _, kinds = run.parse(validate.main, "validate", argv)
    assert [name for name, kind in kinds.items() if kind is Out] == ["docs", "summary", "verdict"]
