"""The stage hands params and paths on; what failed lies where no clean-up of a failed stage reaches."""

from pathlib import Path

from captionseg.params import Params
from stages import run, validate


def test_thresholds_and_folders(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "params.yaml").write_text("validate: {min_success: 0.75}")
    seen = {}
    monkeypatch.setattr(validate, "validate", lambda *args, **kwargs: seen.update(args=args, **kwargs) or {})
    paths = {name: tmp_path / name for name in ("pairs", "supervision", "segments", "docs", "summary")}
    validate.main(Params(tmp_path / "params.yaml"), **paths)
    pairs, params = seen["args"]
    assert (pairs, params.min_success) == (paths["pairs"], 0.75)
    assert (seen["docs"], seen["report"]) == (paths["docs"], paths["summary"])
    assert (seen["supervision_folder"], seen["segments_folder"]) == (paths["supervision"], paths["segments"])
    assert seen["failed"] == Path(".work/validate-failed")


def test_both_outputs_are_outputs(tmp_path: Path) -> None:
    for name in ("p", "s", "g"):
        (tmp_path / name).mkdir()
    argv = [
        f"--pairs={tmp_path}/p",
        f"--supervision={tmp_path}/s",
        f"--segments={tmp_path}/g",
        "--docs=d",
        "--summary=j",
    ]
    _, kinds = run.parse(validate.main, "validate", argv)
    assert [name for name, kind in kinds.items() if kind is run.Out] == ["docs", "summary"]
