"""The gate as a command: what it prints, its exit code, and what it finds in a small DVC repository
of its own.
"""

import json
import subprocess
import sys

import pytest

from stages import gate
from tests.dvc_repository import init_dvc

RULES = (
    'gate: {more: "recipes.cocu-mil.p.miou - recipes.nouns-mil.p.miou >= 3", enough: '
    '"curation.cocu.recall > 0.4"}'
)
PARAMS = """
gate: {better: recipes.cocu-mil.p.miou >= 20}
regression: {recipes.*.*.miou: 1.0}
recipes: {cocu-mil: {curation: cocu}, nouns-mil: {curation: nouns}}
evaluate: {name: p}
pretrain: {epochs: 8}
"""
DAG = """
stages:
  data:
    cmd: mkdir data && echo pictures > data/pictures
    outs: [data]
  train:
    cmd: mkdir -p models/a && cp data/pictures models/a/weights
    deps: [data, code.py]
    params: [pretrain]
    outs: [models/a]
  report:
    cmd: mkdir -p reports && cp score.json reports/metrics.json
    deps: [models, score.json]
    metrics:
    - reports/metrics.json: {cache: false}
"""


def scores(cocu=30.0, nouns=25.0):
    recipes = {"cocu-mil": cocu, "nouns-mil": nouns}
    return json.dumps(
        {"recipes": {name: {"p": {"miou": value}} for name, value in recipes.items() if value}}
    )


def shell(root, words):
    done = subprocess.run(words, cwd=root, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def commit(root):
    shell(root, "git add -A && git -c user.name=t -c user.email=t@t commit -qm t")


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A run that is committed: dvc.lock, params, code, reports; models/README.md as ours, data and
    models by DVC.
    """
    root = tmp_path_factory.mktemp("gate") / "origin"
    (root / "models").mkdir(parents=True)
    files = {
        "params.yaml": PARAMS,
        "dvc.yaml": DAG,
        "code.py": "1\n",
        "score.json": scores(),
        "models/README.md": "m",
    }
    for name, text in files.items():
        (root / name).write_text(text)
    shell(root, "git init -q -b main")
    init_dvc(root, git=True)
    config = (
        "[core]\n    analytics = false\n    check_update = false\n    site_cache_dir = ../../site\n"
    )
    (root / ".dvc" / "config").write_text(config)
    shell(root, f"{sys.executable} -m dvc repro -q")
    commit(root)
    return root


@pytest.fixture
def clone(origin, tmp_path, monkeypatch):
    """A clone of it, on a branch, without any data."""
    monkeypatch.delenv("GATE_BASE", raising=False)
    shell(tmp_path, f"git clone -q {origin} clone && cd clone && git checkout -qb work")
    shell(tmp_path / "clone", "git -c user.name=t -c user.email=t@t commit -qm t --allow-empty")
    assert not (tmp_path / "clone" / "data").exists()
    return tmp_path / "clone"


@pytest.fixture
def call(clone, capsys):
    def run(*words):
        code = gate.main(list(words), root=clone)
        out, err = capsys.readouterr()
        lines = [
            line.split(maxsplit=1)
            for line in out.splitlines()
            if line[2:6] in ("PASS", "MISS", "SKIP", "NOTE")
        ]
        return code, lines, out, err

    return run


def found(lines, *outcomes):
    return [line for outcome, line in lines if outcome in outcomes]


def test_a_clone_without_data_passes_and_stays_as_it_was(call, clone):
    code, lines, out, err = call()
    assert (code, err) == (0, ""), out
    assert out.splitlines()[-1] == "gate passed: 5 checks"
    assert [line.split()[0] for _, line in lines] == [
        "better",
        "recipes.cocu-mil.p.miou",
        "recipes.nouns-mil.p.miou",
        "params",
        "reports/metrics.json",
    ]
    done = subprocess.run(
        ["git", "status", "--porcelain", "--ignored"], cwd=clone, capture_output=True, text=True
    )
    assert [line for line in done.stdout.splitlines() if ".dvc/" not in line] == []


def test_with_its_data_it_passes_too(origin, capsys):
    assert gate.main(["--only", "lock"], root=origin) == 0
    assert capsys.readouterr().out.endswith("gate passed: 2 checks\n")


def test_a_changed_param_without_a_run_is_named_with_its_stage(call, clone):
    (clone / "params.yaml").write_text(PARAMS.replace("epochs: 8", "epochs: 9"))
    code, lines, _, _ = call()
    assert code == 1
    (line,) = found(lines, "MISS")
    assert line.split() == ["stage", "train", "params:", "pretrain.epochs", "8", "->", "9"]


def test_changed_code_is_named_with_its_stage(call, clone):
    (clone / "code.py").write_text("2\n")
    code, lines, _, _ = call("--only", "lock")
    assert code == 1
    assert [line.split() for line in found(lines, "MISS")] == [
        ["stage", "train", "changed:", "code.py"]
    ]


def test_metrics_edited_by_hand_are_found_out(call, clone):
    (clone / "reports" / "metrics.json").write_text(scores(99.0))
    code, lines, _, _ = call()
    assert code == 1
    stage, file = found(lines, "MISS")
    assert stage.split() == ["stage", "report", "outs:", "reports/metrics.json", "(modified)"]
    assert file.endswith("differs from the file recorded in dvc.lock")


@pytest.mark.parametrize(
    ("cocu", "nouns", "code", "missed"),
    [
        (31.0, 25.0, 0, []),
        (29.0, 25.0, 0, []),
        (28.5, 25.0, 1, ["recipes.cocu-mil.p.miou"]),
        (19.5, 24.5, 1, ["better", "recipes.cocu-mil.p.miou"]),
        (30.0, None, 1, ["recipes.nouns-mil.p.miou"]),
    ],
)
def test_better_equal_and_worse_than_the_base(call, clone, cocu, nouns, code, missed):
    (clone / "reports" / "metrics.json").write_text(scores(cocu, nouns))
    result, lines, _, _ = call("--only", "thresholds", "regression")
    assert (result, [line.split()[0] for line in found(lines, "MISS")]) == (code, missed)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ({"source": "folder", "digest": "aaaa"}, {"source": "folder", "digest": "bbbb"}),
        # of a version that wrote no digest
        ({"source": "folder", "digest": "aaaa"}, {"source": "photo_scenes"}),
    ],
)
def test_numbers_of_other_data_are_not_compared(call, clone, here, there):
    def write(data, cocu):
        text = json.dumps({"data": data, **json.loads(scores(cocu))})
        (clone / "reports" / "metrics.json").write_text(text)

    write(there, 30.0)
    commit(clone)
    write(here, 5.0)
    code, lines, out, _ = call("--only", "regression", "--base", "HEAD")
    assert code == 0
    assert "the base was measured on other data" in found(lines, "SKIP")[0]
    assert "gate passed: 0 checks, 1 skipped" in out
    write(there, 5.0)
    assert call("--only", "regression", "--base", "HEAD")[0] == 1


def test_a_recipe_that_the_params_dropped_is_a_note(call, clone):
    (clone / "reports" / "metrics.json").write_text(scores(30.0, None))
    (clone / "params.yaml").write_text(PARAMS.replace(", nouns-mil: {curation: nouns}", ""))
    code, lines, _, _ = call("--only", "regression")
    assert code == 0
    assert found(lines, "NOTE")[0].endswith("removed from params.yaml")


def test_the_base_may_be_named_or_absent(call, clone, monkeypatch):
    (clone / "reports" / "metrics.json").write_text(scores(20.0))
    commit(clone)
    assert call("--only", "regression", "--base", "HEAD")[0] == 0
    assert call("--only", "regression", "--base", "origin/main")[0] == 1
    monkeypatch.setenv("GATE_BASE", "0" * 40)
    code, lines, out, _ = call("--only", "regression")
    assert (code, lines) == (0, [])
    assert out.startswith("Regression (no earlier commit to compare with)\n")
    shell(
        clone,
        "git rm -q --cached reports/metrics.json && git -c user.name=t -c user.email=t@t commit "
        "-qm t",
    )
    code, _, out, _ = call("--only", "regression", "--base", "HEAD")
    assert (code, "has no reports/metrics.json: nothing to compare with" in out) == (0, True)


def test_without_patterns_it_says_that_nothing_is_compared(call, clone):
    (clone / "params.yaml").write_text("gate: {}")
    code, lines, out, _ = call("--only", "regression")
    assert (code, lines) == (0, [])
    assert "nothing is compared, params.yaml has no section regression)" in out


def test_the_comment_is_written_whatever_comes_out(call, clone, tmp_path):
    file = tmp_path / "made" / "gate.md"
    (clone / "reports" / "metrics.json").write_text(scores(20.5, 27.0))
    assert (
        call("--only", "regression", "--markdown", str(file), "--links", "https://host/blob/1/")[0]
        == 1
    )
    text = file.read_text()
    assert "## Gate failed: 1 of 2 checks" in text
    gains = text[text.index("### Gains and losses") :].splitlines()[4:8]
    assert [line.split(" | ")[0].strip("| ") for line in gains] == [
        "recipe",
        "---",
        "nouns-mil",
        "cocu-mil",
    ]
    assert "[reports/metrics.json](https://host/blob/1/reports/metrics.json)" in text
    (clone / "reports" / "metrics.json").write_text("{")
    assert call("--markdown", str(file))[0] == 2
    assert "The gate could not run" in file.read_text()


@pytest.mark.parametrize(
    ("metrics", "params", "words", "message"),
    [
        (None, PARAMS, (), "metrics.json: no such file; run `dvc repro` first"),
        ("{", PARAMS, (), "metrics.json: not JSON"),
        ("[1]", PARAMS, (), "metrics.json: expected a JSON object with names and numbers"),
        (scores(), 'gate: {more: "1 >"}', (), "gate.more: "),
        (scores(), "gates: {}", (), "gates: unknown parameter"),
        (scores(), "gate: [1]", (), "gate: "),
        (
            scores(),
            "gate: {}\nregression: {a: -1}",
            (),
            "regression.a: -1.0 is out of range (valid: 0 or more)",
        ),
        (scores(), "gate: {}\nregression: {a: b}", (), "regression.a: expected float"),
        (scores(), PARAMS, ("--base", "nobody"), "--base nobody: no such commit here"),
    ],
)
def test_mistakes_are_one_line(call, clone, metrics, params, words, message):
    path = clone / "reports" / "metrics.json"
    path.unlink()
    if metrics is not None:
        path.write_text(metrics)
    (clone / "params.yaml").write_text(params)
    code, _, out, err = call("--only", "thresholds", "regression", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_bad_usage_is_2(clone):
    with pytest.raises(SystemExit) as caught:
        gate.main(["--only", "nothing"], root=clone)
    assert caught.value.code == 2


def test_a_broken_base_is_one_line(call, clone):
    (clone / "reports" / "metrics.json").write_text("{")
    commit(clone)
    (clone / "reports" / "metrics.json").write_text(scores())
    code, _, _, err = call("--only", "regression", "--base", "HEAD")
    assert (code, err.startswith("error: HEAD:reports/metrics.json: not JSON")) == (2, True)


def test_every_threshold_is_printed_and_a_path_that_leads_nowhere_is_a_miss(call, clone):
    (clone / "params.yaml").write_text(RULES)
    code, lines, _, _ = call("--only", "thresholds")
    assert code == 1
    assert [outcome for outcome, _ in lines] == ["PASS", "MISS"]
    assert "metrics.json has no curation (found: recipes)" in lines[1][1]


def test_a_gate_without_rules_holds(call, clone):
    (clone / "params.yaml").write_text("gate: {}")
    assert (
        call("--only", "thresholds")[2]
        == "Thresholds (params.yaml: gate)\n\ngate passed: 0 checks\n"
    )


def test_a_lock_with_marks_of_a_merge_is_one_line(call, clone):
    (clone / "dvc.lock").write_text(
        "<<<<<<< ours\nschema: '2.0'\n=======\nstages: {}\n>>>>>>> theirs\n"
    )
    code, _, out, err = call("--only", "lock")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("error: dvc.lock: not valid YAML")
