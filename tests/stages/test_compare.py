"""The stage hands every path on, and tells the tracker what there is to compare."""

from pathlib import Path

from captionseg.params import Params
from captionseg.tracking.tracker import NullTracker
from stages import arguments, compare
from stages.kinds import In, Out

INPUTS = ("metrics", "recipes", "plots", "pictures", "experiments", "benchmarks")
OUTPUTS = ("markdown", "page", "charts")


class Listener(NullTracker):
    def __init__(self):
        self.told = []

    def summary(self, values, paths=()):
        self.told.append((values, list(paths)))


def test_paths_and_recipes_are_handed_on(tmp_path, monkeypatch):
    seen = {}
    counts = {"results": 3, "not_run": 2, "gain": {"a-mil": 1.5}}
    monkeypatch.setattr(
        compare, "write", lambda *args, **named: seen.update(args=args, **named) or counts
    )
    (tmp_path / "params.yaml").write_text(
        "recipes: {a-mil: {curation: nouns, archive: nouns}}\nabout: {a-mil: first}\n"
    )
    paths, tracker = {name: Path(name) for name in (*INPUTS, *OUTPUTS)}, Listener()
    assert compare.main(Params(tmp_path / "params.yaml"), **paths, tracker=tracker) == {
        "results": 3.0,
        "not_run": 2.0,
    }
    folders, out = seen["args"]
    assert vars(folders) == {name: Path(name) for name in INPUTS}
    assert vars(out) == {name: Path(name) for name in OUTPUTS}
    assert {name: recipe.about for name, recipe in seen["recipes"].items()} == {"a-mil": "first"}
    assert tracker.told == [({"comparison": counts}, [Path(name) for name in OUTPUTS])]


def test_inputs_and_outputs_are_declared(tmp_path):
    argv = [word for name in (*INPUTS, *OUTPUTS) for word in (f"--{name}", str(tmp_path))]
    _, kinds = arguments.parse(compare.main, "compare", argv)
    assert [name for name, kind in kinds.items() if kind is In] == list(INPUTS)
    assert [name for name, kind in kinds.items() if kind is Out] == list(OUTPUTS)
    assert compare.PARAMS == ("recipes", "about")
