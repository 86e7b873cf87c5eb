"""The stage hands params and paths on; what failed lies where no clean-up of a failed stage
reaches.
"""

from pathlib import Path

import pytest

from captionseg.expectations.coverage_tables import CoverageParams
from captionseg.params import Params
from captionseg.records import UserError
from stages import arguments
from stages.kinds import Out
from tests.imported_late import import_late

validate = import_late("stages.validate")
NAMES = (
    "pairs",
    "truth",
    "index",
    "features",
    "regions",
    "supervision",
    "segments",
    "curation",
    "docs",
    "summary",
    "verdict",
)


def test_thresholds_and_folders(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "params.yaml").write_text(
        "validate: {min_success: 0.75}\n"
        "curate: {rules: [nouns, few], variants: {few: {rule: cocu, limit: 1}}}\n"
        "segment_text: {curation: few}\n"
    )
    seen: dict = {}
    monkeypatch.setattr(
        validate(), "validate", lambda *args, **kwargs: seen.update(args=args, **kwargs) or {}
    )
    paths = {name: tmp_path / name for name in NAMES}
    validate().main(Params(tmp_path / "params.yaml"), **paths)
    folders, params = seen["args"]
    assert params.min_success == 0.75
    assert list(vars(folders).values()) == [paths[name] for name in NAMES[:8]]
    assert (seen["docs"], seen["report"]) == (paths["docs"], paths["summary"])
    assert seen["coverage_params"] == CoverageParams(["nouns", "few"], "train", "few")
    assert paths["verdict"].read_text() == '{\n  "success": true\n}\n'
    assert seen["failed"] == Path(".work/validate-failed")


def test_no_verdict_on_data_that_fail(tmp_path: Path, monkeypatch) -> None:
    def fails(*args, **kwargs):
        raise UserError("no")

    (tmp_path / "params.yaml").write_text("curate: {rules: [nouns]}")
    monkeypatch.setattr(validate(), "validate", fails)
    paths = {name: tmp_path / name for name in NAMES}
    with pytest.raises(UserError):
        validate().main(Params(tmp_path / "params.yaml"), **paths)
    assert not paths["verdict"].exists()


def test_all_outputs_are_outputs(tmp_path: Path) -> None:
    for name in NAMES[:8]:
        (tmp_path / name).mkdir()
    argv = [f"--{name}={tmp_path}/{name}" for name in NAMES]
    _, kinds = arguments.parse(validate().main, "validate", argv)
    assert [name for name, kind in kinds.items() if kind is Out] == ["docs", "summary", "verdict"]
