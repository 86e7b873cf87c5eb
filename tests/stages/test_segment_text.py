"""The stage hands params and paths on, and leaves its measures."""

import json
from pathlib import Path

from captionseg.params import Params
from captionseg.runtime.params import RuntimeParams
from stages import segment_text


def test_the_space_is_the_index_stages_and_measures_are_written(
    tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "params.yaml").write_text(
        "seed: 7\nruntime: {workers: 3}\nsegment_text: {curation: nouns, superpixels: {share: 0.6}}"
    )
    seen = {}
    monkeypatch.setattr(segment_text.TextSpace, "load", lambda folder: f"space of {folder.name}")
    monkeypatch.setattr(
        segment_text,
        "segment",
        lambda *args, **kwargs: seen.update(args=args, **kwargs) or {"n": 1.0},
    )
    names = ("pairs", "captions", "features", "regions", "supervision", "segments", "measures")
    paths = {name: tmp_path / name for name in names}
    paths["features"].mkdir()
    (paths["features"] / "made_of.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert segment_text.main(Params(tmp_path / "params.yaml"), **paths) == {"n": 1.0}
    assert json.loads((tmp_path / "measures").read_text()) == {"n": 1.0}
    inputs, params = seen.pop("args")
    lent = vars(inputs).pop("lent")
    assert lent.parent == Path(".work/lent")
    assert vars(inputs) == {
        name: paths[name] for name in ("pairs", "captions", "supervision", "features", "regions")
    }
    assert (params.curation, params.superpixels.share) == ("nouns", 0.6)
    assert seen.pop("space")() == "space of encoder"
    assert seen == {"seed": 7, "segments": paths["segments"], "runtime": RuntimeParams(workers=3)}
