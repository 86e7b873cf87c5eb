"""Data as people keep them through all stages, layout by layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stages.given import LAYOUTS, choose_source, run_stages, set_params


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_whole_dag(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAPTIONSEG_TRACKING", "off")
    set_params(choose_source(layout, tmp_path / "given"))
    metrics = run_stages()
    print(metrics)
    print(Path("reports/metrics.json").read_text())
    import shutil

    shutil.rmtree(f"/tmp/he/{layout}", ignore_errors=True)
    shutil.copytree(tmp_path, f"/tmp/he/{layout}")
