"""Runs side by side: how they are called, what of them is shown, one line for each mistake."""

import json

import pytest

from captionseg import cli
from captionseg.tracking import run_comparison


@pytest.fixture
def two(reproduce, root, monkeypatch):
    """Two reproductions of two recipes; the second is better, longer, and champion."""
    monkeypatch.chdir(root)
    params = {
        "pretrain.epochs": 2,
        "pretrain.batch": 8,
        "recipes.a.curation": "nouns",
        "recipes.b.curation": "cocu",
    }
    first = reproduce({"a": (1.0, 10.0), "b": (2.0, 20.0)}, params=params)
    longer = params | {"pretrain.epochs": 4}
    return first, reproduce(
        {"a": (1.0, 10.0), "b": (2.0, 21.5)}, params=longer, weights={"b": b"2"}
    )


def said(capsys, *words):
    capsys.readouterr()
    code = cli.main(["compare", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_recipes_of_two_reproductions(two, capsys):
    code, out, err = said(capsys, "latest~1/b", "latest/b")
    rows = {
        " ".join(line.split()[:-3]) if len(line.split()) > 3 else line.strip(): line.split()
        for line in out.splitlines()
    }
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["b", "b", "difference"]
    assert rows["miou"] == ["miou", "20", "21.5", "+1.5"]
    assert "  training.epochs" in out
    assert "training.batch" not in out, "it is the same in both"
    assert "curve." not in out
    assert "(3 equal ones hidden, --all shows them)" in out
    assert "tune_miou" in said(capsys, "latest~1/b", "latest/b", "--all")[1]


def test_reproductions_recipes_and_the_champion_by_their_names(two, capsys):
    client, experiment = two[0].store.client, two[0].store.experiment

    def run(word):
        return run_comparison.resolve(client, experiment, word).info.run_id

    assert run("latest") == two[1].parent
    assert run("latest~1") == two[0].parent
    assert run("flow r1") == two[0].parent
    assert run(two[0].parent) == run(two[0].parent[:12]) == two[0].parent
    assert run("champion") == run("latest/b")
    assert run("latest/report") == two[1].run


def test_a_wrong_name_is_one_line(two, capsys):
    mistakes = {
        "latest~2": "latest~2: there are only 2 reproductions; run `dvc repro` for another",
        "latest/c": "c: not a run of flow r2 (found: ",
        "b": "b: 2 runs have this name; give an id: ",
        "nobody's": "nobody's: no such run; give an id, a name, latest",
        "challenger": "challenger: no version of model 'captionseg' has this alias",
    }
    for word, mistake in mistakes.items():
        code, out, err = said(capsys, "latest", word)
        assert (code, out) == (1, "")
        assert err.startswith(f"error: {mistake}")
        assert err.count("\n") == 1


def test_json_and_markdown(two, capsys):
    found = json.loads(said(capsys, "latest/a", "latest/b", "champion", "--format", "json")[1])
    assert found["runs"] == ["a", "b", "b"]
    assert found["metrics"]["miou"] == [10.0, 21.5, 21.5]
    assert found["params"] == {"curation": ["nouns", "cocu", "cocu"]}
    lines = said(capsys, "latest/a", "latest/b", "--format", "markdown")[1].splitlines()
    assert lines[:2] == ["| | a | b | difference |", "|---|---:|---:|---:|"]
    assert "| miou | 10 | 21.5 | +11.5 |" in lines
    assert len({line.count("|") for line in lines}) == 1


def test_what_only_one_has_is_a_dash(two, capsys):
    out = said(capsys, "latest/report", "latest/a", "--format", "markdown")[1]
    assert "| miou | - | 10 | - |" in out
