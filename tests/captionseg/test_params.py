"""Every mistake in params.yaml is one line with its path and what would be valid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from captionseg.params import Params
from captionseg.records import UserError

ROOT = Path(__file__).parents[2]


def test_the_committed_params_are_valid():
    Params(ROOT / "params.yaml").check()


def test_scores_are_filed_under_the_data_that_they_are_of(tmp_path):
    def name(source: str, evaluate: str) -> str:
        (tmp_path / "params.yaml").write_text(f"download: {{source: {source}}}\nevaluate: {evaluate}\n")
        return Params(tmp_path / "params.yaml").evaluate.name

    assert Params(ROOT / "params.yaml").evaluate.name == "photo_scenes"
    assert name("folder", "{}") == name("folder", "{name: auto}") == "folder"
    assert name("folder", "{name: holiday}") == "holiday"
    with pytest.raises(UserError, match=r"^evaluate.name: photo_scenes are other data than download.source, f"):
        name("folder", "{name: photo_scenes}")


def test_params_name_their_file_for_mistakes_at_the_top(tmp_path):
    path = tmp_path / "params.yaml"
    with pytest.raises(UserError, match="no such file; run from the root"):
        Params(path)
    for text, message in {
        "seed: [1": "not valid YAML",
        "sead: 1": r"params.yaml.sead: unknown parameter; did you mean 'seed'\?",
        "- 1": "expected keys",
        "seed: x": "^seed: expected int, found 'x'",
        "index: {}": "section 'seed' is missing",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=message) as caught:
            _ = Params(path).seed
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("curate.cocu.neighbors", 8, "curate.cocu.neighbors: unknown parameter; did you mean 'neighbours'? (valid: "),
        ("curate.rules", ["noun"], "curate: rules: unknown rule 'noun' (valid: captions, nouns, "),
        ("curate.rules", ["cocu_naive"], "curate: rules: unknown rule 'cocu_naive' (valid: captions, nouns, "),
        ("curate.variants", {"naive": {"rule": "coco", "ranking": "a"}},
         "curate: variants.naive.rule: unknown rule 'coco' (valid: captions, nouns, "),
        ("curate.variants", {"naive": {"ranking": "a"}}, "curate: variants.naive.rule: unknown rule None"),
        ("curate.variants", {"naive": {"rule": "cocu", "rankng": "a"}},
         "curate.variants.naive.rankng: unknown parameter; did you mean 'ranking'? (valid: "),
        ("curate.variants", {"naive": {"rule": "cocu", "ranking": "c"}}, "curate.variants.naive.ranking: 'c' is not v"),
        ("curate.variants", {"naive": {"rule": "cocu", "limit": 0}}, "curate.variants.naive: limit must be above 0"),
        ("curate.variants", {"naive": {"rule": "cocu"}}, "curate: variants.naive: changes no field of cocu"),
        ("curate.variants", {"nouns": {"rule": "cocu", "limit": 3}}, "curate: variants.nouns: not a name for a vari"),
        ("curate.variants", {"vocabulary": {"rule": "cocu", "limit": 3}}, "curate: variants.vocabulary: not a name"),
        ("curate.variants", {"a/b": {"rule": "cocu", "limit": 3}}, "curate: variants.a/b: not a name for a variant"),
        ("pretrain.segment_mil.multi_label", "sum", "pretrain.segment_mil.multi_label: 'sum' is not valid (valid: "),
        ("recipes.cocu-mil.archiv", "cocu", "recipes.cocu-mil.archiv: unknown parameter; did you mean 'archive'"),
        ("evaluate.also", {"cocu-mill": ["tcl"]}, "evaluate.also.cocu-mill: unknown parameter; did you mean "),
        ("pretrain.seeds", [], "pretrain: seeds: give at least one"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_real_file(tmp_path, path, value, message):
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    *above, last = path.split(".")
    inside = raw
    for name in above:
        inside = inside[name]
    inside[last] = value
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=re.escape(message)):
        Params(tmp_path / "params.yaml").check()
