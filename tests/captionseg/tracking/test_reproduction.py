import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from captionseg.tracking import reproduction
from captionseg.tracking.reproduction import (
    collect_tags,
    find,
    find_home,
    identify_process,
    is_dead,
    store_uri,
)
from tests.dvc_repository import init_dvc


def process(*words, pid=7, started=1000.0) -> Any:
    return SimpleNamespace(pid=pid, cmdline=lambda: list(words), create_time=lambda: started)


STAGE = process("python", "-m", "stages.run", "index", pid=9)
SHELL = process("/bin/sh", "-c", "python -m stages.run index", pid=8)


@pytest.mark.parametrize(
    "words",
    [
        ("/venv/bin/dvc", "repro"),
        ("/venv/bin/python", "/venv/bin/dvc", "repro"),
        ("/venv/bin/python", "-m", "dvc", "repro", "index"),
    ],
)
def test_stages_below_one_dvc_process_belong_together(words):
    first = find({}, [SHELL, process(*words)])
    again = find({"DVC_EXP_NAME": ""}, [STAGE, process(*words)])
    other = find({}, [SHELL, process(*words, started=2000.0)])
    assert first.key == again.key
    assert first.key != other.key, "a pid that came back is another reproduction"


def test_stages_of_a_real_dvc_process_find_it(tmp_path, monkeypatch):
    for name in ("CAPTIONSEG_FLOW_RUN", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    (tmp_path / "stage.py").write_text(
        "import os, psutil\n"
        "from captionseg.tracking.reproduction import find\n"
        "print(find(os.environ, psutil.Process().parents()).key, file=open('keys', 'a'))\n"
    )
    stages = "".join(f"  {name}:\n    cmd: {sys.executable} stage.py\n" for name in "ab")
    (tmp_path / "dvc.yaml").write_text(f"stages:\n{stages}")
    dvc = [sys.executable, "-m", "dvc"]
    init_dvc(tmp_path, git=False)
    repro = subprocess.Popen([*dvc, "repro", "-q"], cwd=tmp_path)
    assert repro.wait() == 0
    first, second = (tmp_path / "keys").read_text().split()
    assert first == second
    assert f":{repro.pid}:" in first


def test_the_nearest_dvc_counts():
    found = find({}, [SHELL, process("dvc", "repro", pid=5), process("dvc", "exp", "run", pid=4)])
    assert ":5:" in found.key


def test_the_flow_counts_before_the_experiment_and_that_before_the_process():
    ancestors = [process("dvc", "repro")]
    flow = find({"CAPTIONSEG_FLOW_RUN": "abc", "DVC_EXP_NAME": "wide"}, ancestors)
    experiment = find({"DVC_EXP_NAME": "wide"}, ancestors)
    assert flow.key == "flow-abc"
    assert experiment.name == "exp wide"
    assert experiment.key.startswith("exp-wide-")


def test_an_experiment_run_again_under_its_name_is_another():
    first, second = (
        find({"DVC_EXP_NAME": "wide"}, [process("dvc", "exp", "run", pid=pid)]) for pid in (4, 5)
    )
    assert first.name == second.name
    assert first.key != second.key
    assert find({"DVC_EXP_NAME": "wide"}, []).key == "exp-wide"


def test_a_stage_run_by_hand_stands_alone():
    assert find({}, [STAGE, process("bash"), process("vim", "dvc.yaml")]) is None


def test_an_ancestor_that_may_not_be_looked_at_is_passed_over():
    def refuse():
        raise psutil.AccessDenied(1)

    hidden: Any = SimpleNamespace(pid=1, cmdline=refuse, create_time=lambda: 0.0)
    found = find({}, [hidden, process("dvc", "repro", pid=3)])
    assert ":3:" in found.key


def test_who_lives_and_who_is_dead():
    me = psutil.Process()
    host, pid, started = identify_process(me).rsplit(":", 2)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert not is_dead(identify_process(me))
    assert is_dead(f"{host}:{pid}:{float(started) - 60}"), "the pid came back to another process"
    assert is_dead(f"{host}:{child.pid}:{started}")
    assert not is_dead(f"elsewhere:{child.pid}:{started}"), "of other hosts we know nothing"
    assert not is_dead("")
    assert not is_dead("some words")


def test_temporary_experiments_use_the_store_of_the_repository(tmp_path):
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    copy.mkdir(parents=True)
    assert find_home(copy) == find_home(tmp_path) == tmp_path.resolve()
    assert store_uri(copy, {}) == f"sqlite:///{tmp_path.resolve()}/mlflow.db"


def test_the_store_is_absolute_and_the_environment_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_uri(Path(), {}) == f"sqlite:///{Path.cwd()}/mlflow.db"
    assert store_uri(Path(), {"MLFLOW_TRACKING_URI": "http://here:5000"}) == "http://here:5000"


def test_tags_name_code_data_and_orders(tmp_path):
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    (tmp_path / "code.py").write_text("1")
    environ = {"DVC_EXP_NAME": "wide", "CAPTIONSEG_FLOW_RUN": "abc"}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t"]
    assert "mlflow.source.git.commit" not in collect_tags(tmp_path, environ), (
        "no repository, no commit"
    )
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert collect_tags(tmp_path, environ) == {
        "mlflow.source.git.commit": head,
        "git.dirty": "false",
        "dvc.lock": hashlib.md5(b"schema: '2.0'\n").hexdigest(),
        "dvc.exp": "wide",
        "flow.run": "abc",
    }
    (tmp_path / "dvc.lock").write_text("other\n")
    assert collect_tags(tmp_path, {})["git.dirty"] == "false", "a run writes it"
    (tmp_path / "code.py").write_text("2")
    assert collect_tags(tmp_path, {})["git.dirty"] == "true"


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    assert reproduction.collect_tags(tmp_path, {}) == {}
