"""The stage hands params and paths on."""

from pathlib import Path

from captionseg import regioning
from captionseg.params import Params
from captionseg.runtime.params import RuntimeParams
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from stages import regions


def test_maker_and_folders_come_from_params_and_arguments(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "params.yaml").write_text(
        "runtime: {workers: 3}\nregions: {felzenszwalb: {side: 48}}"
    )
    seen = {}
    monkeypatch.setattr(
        regions,
        "write_regions",
        lambda *args, **kwargs: seen.update(args=args, **kwargs) or {"x": 1.0},
    )
    assert regions.write_regions is not regioning.write_regions
    pairs, out = (tmp_path / name for name in ("pairs", "regions"))
    metrics = regions.main(Params(tmp_path / "params.yaml"), pairs=pairs, regions=out)
    assert metrics == {"x": 1.0}
    assert seen == {
        "args": (pairs, out),
        "maker": Felzenszwalb(side=48),
        "runtime": RuntimeParams(workers=3),
    }
