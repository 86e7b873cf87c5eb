"""Every mistake in params.yaml is one line with its path and what would be valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from captionseg.params import Params
from captionseg.records import UserError
from tests.captionseg.real_params import changed

ROOT = Path(__file__).parents[2]


def test_the_committed_params_are_valid():
    Params(ROOT / "params.yaml").check()


def test_scores_are_filed_under_the_data_that_they_are_of(tmp_path):
    def name(source: str, evaluate: str) -> str:
        (tmp_path / "params.yaml").write_text(
            f"download: {{source: {source}}}\nevaluate: {evaluate}\n"
        )
        return Params(tmp_path / "params.yaml").evaluate.name

    assert Params(ROOT / "params.yaml").evaluate.name == "photo_scenes"
    assert name("folder", "{}") == name("folder", "{name: auto}") == "folder"
    assert name("folder", "{name: holiday}") == "holiday"
    with pytest.raises(
        UserError, match=r"^evaluate.name: photo_scenes is a data source, but download.source is f"
    ):
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
        (
            "curate.cocu.neighbors",
            8,
            "curate.cocu.neighbors: unknown parameter; did you mean 'neighbours'? (valid: ",
        ),
        ("curate.rules", ["noun"], "curate: rules: unknown rule 'noun' (valid: captions, nouns, "),
        (
            "curate.rules",
            ["cocu_naive"],
            "curate: rules: unknown rule 'cocu_naive' (valid: captions, nouns, ",
        ),
        (
            "curate.variants",
            {"naive": {"rule": "coco", "ranking": "a"}},
            "curate: variants.naive.rule: unknown rule 'coco' (valid: captions, nouns, ",
        ),
        (
            "curate.variants",
            {"naive": {"ranking": "a"}},
            "curate: variants.naive.rule: unknown rule None",
        ),
        (
            "curate.variants",
            {"naive": {"rule": "cocu", "rankng": "a"}},
            "curate.variants.naive.rankng: unknown parameter; did you mean 'ranking'? (valid: ",
        ),
        (
            "curate.variants",
            {"naive": {"rule": "cocu", "ranking": "c"}},
            "curate.variants.naive.ranking: 'c' is not v",
        ),
        (
            "curate.variants",
            {"naive": {"rule": "cocu", "limit": 0}},
            "curate.variants.naive.limit: 0 is out of range",
        ),
        (
            "curate.variants",
            {"naive": {"rule": "cocu"}},
            "curate: variants.naive: changes no field of cocu",
        ),
        (
            "curate.variants",
            {"nouns": {"rule": "cocu", "limit": 3}},
            "curate: variants.nouns: not a name for a vari",
        ),
        (
            "curate.variants",
            {"vocabulary": {"rule": "cocu", "limit": 3}},
            "curate: variants.vocabulary: not a name",
        ),
        (
            "curate.variants",
            {"a/b": {"rule": "cocu", "limit": 3}},
            "curate.variants: 'a/b' is not a valid name (valid: ",
        ),
        (
            "pretrain.segment_mil.multi_label",
            "sum",
            "pretrain.segment_mil.multi_label: 'sum' is not valid (valid: ",
        ),
        (
            "recipes.cocu-mil.archiv",
            "cocu",
            "recipes.cocu-mil.archiv: unknown parameter; did you mean 'archive'",
        ),
        (
            "recipes.cocu-mil.about",
            "A word.",
            "recipes.cocu-mil.about: descriptions belong in section about; write about: "
            "{cocu-mil: ...}",
        ),
        (
            "about.cocu-mill",
            "A word.",
            "about.cocu-mill: unknown parameter; did you mean 'cocu-mil'? (valid: ",
        ),
        ("pretrain.seeds", [], "pretrain.seeds: give at least one, found []"),
    ],
)
def test_a_mistake_in_the_real_file(tmp_path, path, value, message):
    assert message in refused(tmp_path, {path: value})


def refused(tmp_path, changes: dict[str, Any]) -> str:
    """What is said of the real file with some values changed."""
    with pytest.raises(UserError) as caught:
        changed(tmp_path, changes).check()
    return str(caught.value)


OUT_OF_RANGE = [
    ("pretrain.learning_rate", 0, "0.0 is out of range (valid: above 0; default: 0.002)"),
    ("pretrain.seeds", [0, 0], "0 occurs twice in [0, 0]; remove one"),
    ("pretrain.epochs", 0, "0 is out of range (valid: 1 to 1000000000; default: 8)"),
    ("pretrain.batch", 0, "0 is out of range (valid: 1 to "),
    ("pretrain.gradient_clip", float("inf"), "expected a finite number, found inf"),
    (
        "pretrain.prompts",
        "simpel",
        "'simpel' is not valid (valid: simple, segment, tcl, imagenet); did you",
    ),
    (
        "pretrain.segment_mil.dropout",
        1.0,
        "1.0 is out of range (valid: 0 or more, below 1; default: 0.1)",
    ),
    (
        "pretrain.device",
        "gpu",
        "'gpu' is not valid (valid: auto, cpu, cuda, cuda:N; default: 'auto')",
    ),
    ("index.neighbours", -5, "-5 is out of range (valid: 1 to "),
    ("index.alignment.folds", 0, "0 is out of range (valid: 1 to 1000000000; default: 5)"),
    ("index.minimum_recall", 95, "95.0 is out of range (valid: 0 to 1; default: 0.95)"),
    ("download.shard_size", 0, "0 is out of range (valid: 1 to 1000000000; default: 500)"),
    ("download.min_success", 2, "2.0 is out of range (valid: 0 to 1; default: 0.5)"),
    ("evaluate.bootstrap", -1, "-1 is out of range (valid: 1 to 1000000000; default: 1000)"),
    (
        "evaluate.split",
        "tests",
        "'tests' is not valid (valid: train, tune, test); did you mean 'test'?",
    ),
    ("evaluate.name", "a.b", "'a.b' is not valid (valid: letters a to z, digits, "),
    ("report.split", "all", "'all' is not valid (valid: train, tune, test)"),
    ("validate.min_kept", 50, "50.0 is out of range (valid: 0 to 1; default: 0.5)"),
    ("curate.rules", [], "give at least one, found []"),
    ("curate.rules", ["nouns", "nouns"], "'nouns' occurs twice"),
    ("curate.cocu.temperature", 0, "0.0 is out of range (valid: above 0; default: 0.2)"),
    ("runtime.gpu_share", float("nan"), "expected a number, found NaN"),
    ("seed", -1, "-1 is out of range (valid: 0 to 4294967295)"),
    ("seed", 2**32, "4294967296 is out of range (valid: 0 to 4294967295)"),
]


@pytest.mark.parametrize(("path", "value", "message"), OUT_OF_RANGE)
def test_a_value_out_of_range_names_its_path_and_what_would_be_valid(
    tmp_path, path, value, message
):
    assert f"{path}: {message}" in refused(tmp_path, {path: value})


def test_all_mistakes_are_said_at_once_a_line_each(tmp_path):
    said = refused(
        tmp_path,
        {"pretrain.epochs": 0, "pretrain.batch": "x", "index.neighbours": 0, "report.sceens": 1},
    )
    assert [line.split(":")[0] for line in said.split("\n")] == [
        "index.neighbours",
        "pretrain.epochs",
        "pretrain.batch",
        "report.sceens",
    ]


RECIPE = {"curation": "cocu", "archive": "cocu"}
NAMES = [
    "x$(touch f)",
    "a b",
    "a/b",
    "../x",
    "a.b",
    "a@b",
    "ä",
    "\u540d\u524d",
    "-a",
    "_a",
    "",
    "a\nb",
    "a" * 101,
    "a\u200b",
    ".",
    "~",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_what_is_no_name_is_refused_before_anything_else(tmp_path, name):
    for changes, where in [
        ({"recipes": {name: RECIPE}}, "recipes"),
        ({"segment_text.curation": name}, "segment_text"),
        ({"recipes.a": {"curation": name, "archive": "cocu"}}, "recipes.a.curation"),
        ({"curate.rules": ["nouns", name]}, "curate.rules"),
        ({"curate.variants": {name: {"rule": "cocu", "limit": 3}}}, "curate.variants"),
    ]:
        with pytest.raises(
            UserError, match=rf"^{where}.*is not a valid name \(valid: letters a to z, [^\n]*$"
        ):
            changed(tmp_path, changes)


@pytest.mark.parametrize("name", ["nouns-mil", "1", "A_b-C9", "x" * 100])
def test_what_is_a_name_is_taken(tmp_path, name):
    assert list(changed(tmp_path, {"recipes": {name: RECIPE}}).recipes) == [name]


def test_names_that_one_disk_takes_for_one(tmp_path):
    with pytest.raises(
        UserError, match="recipes: 'nouns-mil' and 'Nouns-mil' are the same folder on disks"
    ):
        changed(tmp_path, {"recipes.Nouns-mil": RECIPE})
    for name in ("Vocabulary", "NOUNS"):
        said = refused(tmp_path, {"curate.variants": {name: {"rule": "cocu", "limit": 3}}})
        assert f"curate: variants.{name}: not a name for a variant" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seed: 1\nrecipes: {1: {}}",
            "recipes: 1 is not text in YAML, so it is not a name; put it in quotes",
        ),
        (
            "seed: 1\nrecipes: {no: {}}",
            "recipes: False is not text in YAML, so it is not a name; put it in quotes",
        ),
        ("seed: 1\nindex: {}\nseed: 2", "not valid YAML: line 3: 'seed' occurs twice; remove one"),
        ("seed: 1\nrecipes:\n  a: {}\n  a: {}", "not valid YAML: line 4: 'a' occurs twice"),
        ("seed: 2026-99-99", "not valid YAML"),
    ],
)
def test_what_yaml_would_pass_over(tmp_path, text, message):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        Params(tmp_path / "params.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "params.yaml").write_bytes("seed: 1 # ä".encode("latin-1"))
    with pytest.raises(UserError, match="not text in UTF-8"):
        Params(tmp_path / "params.yaml")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        Params(tmp_path)
