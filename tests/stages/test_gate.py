"""The gate as a command: what it prints, and its exit code."""

import json

import pytest

from stages import gate

RULES = 'gate: {more: "recipes.cocu-mil.p.miou - recipes.nouns-mil.p.miou >= 3", enough: "curation.cocu.recall > 0.4"}'


@pytest.fixture
def run(tmp_path, capsys):
    def call(miou, rules=RULES):
        metrics = {"recipes": {"cocu-mil": {"p": {"miou": miou}}, "nouns-mil": {"p": {"miou": 27.0}}},
                   "curation": {"cocu": {"recall": 0.5}}}  # fmt: skip
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))
        (tmp_path / "params.yaml").write_text(rules)
        code = gate.main(["--metrics", str(tmp_path / "metrics.json"), "--params", str(tmp_path / "params.yaml")])
        return code, *capsys.readouterr()

    return call


def test_all_rules_hold(run):
    code, out, err = run(31.5)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith("PASS  more: value 4.5, margin +1.5")
    assert second.startswith("PASS  enough: value 0.5, margin +0.1")


def test_one_miss_is_enough_to_fail_and_every_rule_is_printed(run):
    code, out, _ = run(29.0)
    assert code == 1
    assert [line[:12] for line in out.splitlines()] == ["MISS  more: ", "PASS  enough"]
    assert "value 2, margin -1 " in out


def test_a_path_that_leads_nowhere_is_a_miss(run):
    code, out, err = run(31.0, 'gate: {more: "recipes.coco-mil.p.miou >= 3"}')
    assert (code, err) == (1, "")
    assert "MISS  more: metrics.json has no recipes.coco-mil; did you mean 'cocu-mil'?" in out


def test_a_gate_without_rules_holds(run):
    assert run(0.0, "gate: {}")[:2] == (0, "PASS  the gate has no rules\n")


@pytest.mark.parametrize(
    ("rules", "message"),
    [('gate: {more: "1 >"}', "error: gate.more: "), ("gates: {}", "gates: unknown parameter"), ("gate: [1]", "gate: ")],
)
def test_mistakes_are_one_line(run, rules, message):
    code, out, err = run(31.0, rules)
    assert (code, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_without_metrics_it_says_what_to_do(tmp_path, capsys):
    (tmp_path / "params.yaml").write_text("gate: {}")
    (tmp_path / "broken.json").write_text("{")
    for name, message in (("none.json", "run `dvc repro` first"), ("broken.json", "not JSON")):
        assert gate.main(["--metrics", str(tmp_path / name), "--params", str(tmp_path / "params.yaml")]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
