"""What recipes are called reaches no shell: DVC itself runs the end of the DAG, whose stages are
stubs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from captionseg.records import UserError
from stages.arguments import insert_recipe
from tests.dvc_repository import init_dvc

ROOT = Path(__file__).parents[2]
STAGES = ("validate", "pretrain", "evaluate")
# `python -m stages.run` with the arguments and PARAMS of the real stages, whose mains write the
# word "made".
STUB = f"""
import ast, sys, types
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
import stages.run as run
for name in {STAGES!r}:
    tree = ast.parse(Path({str(ROOT)!r}, "stages", name + ".py").read_text())
    keep = [n for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "PARAMS"]
    main = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")
    body = "for p in list(locals().values()):\\n if '.work' in str(p): p.write_text('made')"
    main.body = ast.parse(body).body
    module = sys.modules["stages." + name] = types.ModuleType("stages." + name)
    lines = ["from pathlib import Path", "from stages.kinds import In, Note, Out"]
    lines.append("Params = Tracker = object")
    whole = ast.Module([*ast.parse("\\n".join(lines)).body, *keep, main], [])
    exec(compile(ast.fix_missing_locations(whole), name, "exec"), vars(module))
sys.exit(run.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The end of the real DAG, validate to evaluate, with the real params; what they read is
    empty."""
    root = tmp_path_factory.mktemp("project")
    dag = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    dag = {
        "vars": [{"run": f"env CAPTIONSEG_TRACKING=off {sys.executable} stub.py"}],
        "stages": {name: dag["stages"][name] for name in STAGES},
    }
    for stage in dag["stages"].values():
        stage = stage.get("do", stage)
        stage["deps"] = [
            dep for dep in stage["deps"] if not dep.startswith(("captionseg", "stages"))
        ]
    (root / "dvc.yaml").write_text(yaml.safe_dump(dag, sort_keys=False))
    (root / "stub.py").write_text(STUB)
    for name in (
        "pairs",
        "truth",
        "index",
        "regions",
        "features",
        "segments",
        "supervision/vocabulary",
        "supervision/nouns",
        "supervision/cocu",
    ):
        (root / "data" / name).mkdir(parents=True)
        (root / "data" / name / "some").write_text(name)
    (root / "reports").mkdir()
    (root / "reports" / "curation.json").write_text("{}")
    params(root, recipes={"a-mil": {"curation": "cocu", "archive": "nouns"}})
    run(root, "git", "init", "-q")
    init_dvc(root, git=True)
    run(
        root,
        "git",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "commit",
        "-qm",
        "t",
        "--allow-empty",
    )
    done = dvc(root, "repro")
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def params(root, **changes):
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump({**raw, "about": {}, **changes}))


def run(root, *command):
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def dvc(root, *words):
    return run(
        root,
        "env",
        "DVC_NO_ANALYTICS=1",
        f"DVC_SITE_CACHE_DIR={root / '.dvc' / 'site'}",
        sys.executable,
        "-m",
        "dvc",
        *words,
    )


def test_a_recipe_finds_its_own_folders(project):
    assert (project / "models" / "a-mil").read_text() == "made"
    assert (project / "reports" / "areas" / "a-mil.parquet").read_text() == "made"
    lock = yaml.safe_load((project / "dvc.lock").read_text())["stages"]
    assert " --recipe @recipe " in lock["pretrain@a-mil"]["cmd"]


@pytest.mark.parametrize("command", [["repro"], ["exp", "run"]], ids=" ".join)
def test_no_name_is_run(project, command):
    recipe = {"curation": "cocu", "archive": "nouns"}
    bad = ["x$(touch ran)", "x;touch ran", "`touch ran`", "x' $(touch ran) '", "x\ntouch ran"]
    params(project, recipes={name: recipe for name in ("a-mil", *bad)})
    done = dvc(project, *command)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    assert (
        "recipes: 'x$(touch ran)' is not a valid name (valid: letters a to z"
        in done.stdout + done.stderr
    )
    assert not (project / "ran").exists()
    assert (project / "models" / "a-mil").read_text() == "made"


def test_a_stage_alone_gives_its_name_to_no_shell(project):
    """With --single-item nothing comes before it, so nothing checks its name before its command
    runs.
    """
    params(project, recipes={"x$(touch ran)": {"curation": "cocu", "archive": "nouns"}})
    done = dvc(project, "repro", "--single-item", "pretrain@x$(touch ran)")
    assert done.returncode != 0
    assert not (project / "ran").exists()


def test_the_recipe_is_that_of_the_command_or_of_dvc():
    words = ["--recipe", "@recipe", "--model", "models/@recipe"]
    assert insert_recipe(words, {"DVC_STAGE": "pretrain@a-mil"}) == [
        "--recipe",
        "a-mil",
        "--model",
        "models/a-mil",
    ]
    assert insert_recipe(words, {"DVC_STAGE": "team/dvc.yaml:pretrain@a-mil"})[1] == "a-mil"
    assert insert_recipe(["--recipe", "b", *words[2:]], {"DVC_STAGE": "pretrain@a-mil"})[1::2] == [
        "b",
        "models/b",
    ]
    assert insert_recipe(["--pairs", "data/pairs"], {}) == ["--pairs", "data/pairs"]
    for environ in ({}, {"DVC_STAGE": "pretrain"}):
        with pytest.raises(
            UserError, match=r"a recipe in DVC_STAGE; outside of DVC use --recipe NAME"
        ):
            insert_recipe(words, environ)
