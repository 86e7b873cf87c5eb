"""Which models the page has, in which order, and that each is loaded once."""

from __future__ import annotations

import pytest

from captionseg.demo.model_pool import ModelPool, list_models
from captionseg.records import UserError

SHIPPED = "(comes with captionseg)"


def test_the_models_of_a_run_come_first_and_the_best_of_them_before_the_others(tmp_path):
    for name, score in (("a", 10.0), ("b", 30.0), ("c", None)):
        seed = tmp_path / name / "seeds" / "0"
        seed.mkdir(parents=True)
        (tmp_path / name / "model.safetensors").touch()
        if score:
            (seed / "fit.json").write_text(f'{{"tune_miou": {score}}}')
    listed = list_models((), tmp_path)
    assert [name for name in listed if SHIPPED not in name] == ["b", "a", "c"]
    assert list(listed)[-1].endswith(SHIPPED)
    assert [*list_models((), tmp_path / "nowhere")] == [list(listed)[-1]]


def test_models_that_are_asked_for_are_the_only_ones(tmp_path):
    for name in ("x/m", "y/m", "z/n"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    x, y, z = (str(tmp_path / name) for name in ("x/m", "y/m", "z/n"))
    assert list_models((x, y, z), tmp_path) == {x: x, y: y, "n": z}
    assert list_models(("models:/a@champion",), tmp_path) == {"a@champion": "models:/a@champion"}
    with pytest.raises(UserError, match=r"--model: nowhere: no model"):
        list_models(("nowhere",), tmp_path)


def test_a_model_is_loaded_once(run, monkeypatch):
    loads = []
    monkeypatch.setattr("captionseg.api.model.load", lambda source, device: loads.append(source))
    models = ModelPool({"a": "x", "b": "y"}, "cpu")
    for name in "aab":
        models.get(name)
    assert loads == ["x", "y"]
    models = ModelPool(list_models((), run.places.models))
    assert models.find_searcher() == run.places.models / "use"
    assert ModelPool({"a": "nowhere"}).find_searcher() is None
