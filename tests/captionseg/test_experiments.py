"""Files of experiments: what is refused, and that text arrives in params.yaml as it is."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides

from captionseg.checks.check import check
from captionseg.experiments import list_overrides, read_experiment
from captionseg.params import Params
from captionseg.records import UserError

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "experiments").glob("*.yaml"))
LEAST = {"about": "x", "minutes": 5, "params": {"seed": 1}}


def merged(tmp_path, words, base=ROOT / "params.yaml"):
    """params.yaml as DVC changes it by overrides."""
    path = tmp_path / "params.yaml"
    shutil.copy(base, path)
    overrides = to_path_overrides(words)
    assert set(overrides) == {"params.yaml"}
    apply_overrides(str(path), overrides["params.yaml"])
    return path


def test_recipes_may_be_left_out_with_their_descriptions(tmp_path):
    left_out = {"without": ["nouns-mil", "cocu-mil"], "params": {"pretrain": {"epochs": 1}}}
    experiment = read_experiment(write(tmp_path, LEAST | left_out))
    path = merged(tmp_path, experiment.overrides)
    changed, before = (Params(file).raw for file in (path, ROOT / "params.yaml"))
    for section in ("recipes", "about"):
        assert set(before[section]) - set(changed[section]) == {"nouns-mil", "cocu-mil"}
    assert changed["pretrain"]["epochs"] == 1


def write(tmp_path, values):
    path = tmp_path / "mine.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def place(path, root):
    """The experiment of a file, with empty files in place of those that its user has."""
    experiment = read_experiment(path)
    if not experiment.root:
        return experiment
    for name in re.findall(r'"\{root\}/([^"/]+)"', path.read_text()):
        (root / name).touch()
    return experiment.place(path.stem, root)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_params_of_every_experiment_are_fine(path, tmp_path):
    experiment = place(path, tmp_path)
    params = Params(merged(tmp_path, experiment.overrides))
    check(params)
    assert set(experiment.expected) | set(experiment.recipes) <= set(params.recipes)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_expected_scores_are_those_that_were_kept(path):
    kept = ROOT / "reports" / "experiments" / path.stem / "metrics.json"
    if not kept.exists():
        pytest.skip("never kept")
    found = json.loads(kept.read_text())["recipes"]
    scored = {name: of["photo_scenes"] for name, of in found.items() if "photo_scenes" in of}
    scores = {name: round(of["miou"], 1) for name, of in scored.items()}  # none without masks
    assert read_experiment(path).expected == scores


def test_every_kept_experiment_has_its_file():
    kept = {p.parent.name for p in (ROOT / "reports" / "experiments").glob("*/experiment.json")}
    assert kept <= {path.stem for path in FILES}


@pytest.mark.parametrize(
    "value",
    [
        "a, b",
        'it\'s a \\ "test" [x] {y: z} = ü 100% #1 $(touch x) `touch x`; rm -rf ~',
        "ends with \\",
        "\\'",
        "true",
        "1",
        "",
        None,
        True,
        -1.5,
        0.0001,
        [],
        {},
        [{"a": "b'c"}, [1, None]],
    ],
)
def test_values_arrive_as_they_are(tmp_path, value):
    base = tmp_path / "base.yaml"
    base.write_text("seed: 0\na: {kept: 1}\n")
    words = list_overrides({"a": {"new-x": value}, "b": {"c-d": [value]}})
    path = merged(tmp_path, words, base)
    assert yaml.safe_load(path.read_text()) == {
        "seed": 0,
        "a": {"kept": 1, "new-x": value},
        "b": {"c-d": [value]},
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (LEAST | {"abuot": "y"}, "abuot: unknown key (valid: about, minutes, expected,"),
        (LEAST | {"minutes": "long"}, "minutes"),
        (LEAST | {"minutes": -1}, "minutes"),
        (LEAST | {"expected": {"a-mil": "good"}}, "expected.a-mil"),
        (LEAST | {"expected": {"a-mil": 101}}, "expected.a-mil"),
        ({"about": "x", "minutes": 5}, "params: field required"),
        (LEAST | {"params": {}}, "params"),
        (LEAST | {"params": {"a.b": 1}}, "params.a.b: keys may contain only letters"),
        (LEAST | {"params": {"a": {"b=1": 1}}}, "params.a.b=1: keys may contain only letters"),
        (LEAST | {"params": {"a": [{"b:c": 1}]}}, "params.a.b:c: keys may contain only letters"),
        (
            LEAST | {"params": {"a": "${oc.env:HOME}"}},
            "params.a: '${oc.env:HOME}' is not supported",
        ),
        (LEAST | {"without": ["a.b"]}, "params.a.b: keys may contain only letters"),
        (LEAST | {"cost": {"pairs": 0, "recipes": {}}}, "cost.pairs: input should be greater"),
        ("about: [", "cannot be read"),
        ("- 1", "the file"),
        ("", "the file"),
    ],
)
def test_mistakes_are_one_line(tmp_path, values, message):
    with pytest.raises(UserError) as caught:
        read_experiment(write(tmp_path, values))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_there_names_those_that_are(tmp_path):
    write(tmp_path, LEAST)
    with pytest.raises(UserError, match=r"no such experiment \(valid: mine\)$"):
        read_experiment(tmp_path / "yours.yaml")
