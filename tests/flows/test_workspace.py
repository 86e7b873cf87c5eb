import configparser
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
import yaml
from filelock import FileLock

from flows.override import literal
from flows.plan import PlanError, read
from flows.workspace import COPIES, LOCK, Job, WorkspaceError, git, held, sweep, workspace

DAG = """
stages:
  a:
    cmd: echo ${n} > a.txt
    params: [n]
    outs: [a.txt]
"""
PROGRAM = """
import sys, time
from pathlib import Path
from flows.workspace import held
with held(Path(sys.argv[1]), "nightly", print):
    print("mine", flush=True)
    time.sleep(60)
"""


def sh(command, cwd):
    return subprocess.run(
        command, shell=True, cwd=cwd, capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def root(repository):
    root = repository(DAG)
    (root / "params.yaml").write_text("# why one\nn: 1\nm: {k: 2}\n")
    (root / ".gitignore").write_text("/a.txt\n")
    sh("git add -A && git -c user.name=t -c user.email=t@t commit -qm t", root)
    return root


def test_who_waits_is_told_who_works_and_the_dead_hold_nothing(tmp_path):
    path, said = tmp_path / "a" / "b" / "w.lock", []
    holder = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "mine\n"
    threading.Timer(0.5, holder.kill).start()  # no chance to clean up
    with held(path, "by hand", said.append, patience=0.1):
        assert holder.wait(10) != 0
    holder.stdout.close()
    assert len(said) == 1
    assert f"in use by nightly (pid {holder.pid}, since" in said[0]


def test_without_overrides_the_run_has_the_repository_to_itself(root):
    with workspace(root, Job("k", "night"), print) as folder:
        assert folder == root
        other = (
            f"from filelock import FileLock; FileLock({str(root / LOCK)!r}, timeout=0).acquire()"
        )
        assert (
            b"Timeout"
            in subprocess.run(
                [sys.executable, "-c", other], capture_output=True, check=False
            ).stderr
        )
    FileLock(root / LOCK, timeout=0).acquire()


def test_a_copy_has_uncommitted_changes_overrides_and_data_and_becomes_an_experiment(root):
    sh(f"{sys.executable} -m dvc repro -q && git add -A", root)
    (root / "note.txt").write_text("tracked, not committed\n")
    sh("git add note.txt && echo more >> note.txt", root)
    before, said = sh("git status --short", root), []
    with workspace(
        root, Job("0123456789", "happy fox!", ["m.k=3", "+new=[a,b]"]), said.append
    ) as copy:
        assert copy == root / COPIES / "flow-0123456789"
        assert (copy / "note.txt").read_text() == "tracked, not committed\nmore\n"
        assert (copy / "a.txt").read_text() == "1\n", "checked out from the cache of the repository"
        text = (copy / "params.yaml").read_text()
        assert text.startswith("# why one\nn: 1\nm:")
        assert "k: 3" in text
        sh(f"rm a.txt && echo 9 > a.txt && {sys.executable} -m dvc commit -q -f", copy)
        (copy / "report.md").write_text("new, and not in any cache\n")
    assert not copy.exists()
    assert sh("git status --short", root) == before, "the repository is as it was"
    (ref,) = sh("git for-each-ref --format='%(refname)' refs/exps", root).split()
    head = sh("git rev-parse HEAD", root).strip()
    assert ref == f"refs/exps/{head[:2]}/{head[2:]}/happy-fox-01234567"
    assert sh(f"git show {ref}:report.md", root) == "new, and not in any cache\n"
    made = hashlib.md5(b"9\n").hexdigest()
    assert made in sh(f"git show {ref}:dvc.lock", root)
    assert (root / ".dvc" / "cache" / "files" / "md5" / made[:2] / made[2:]).exists(), (
        "its data is in our cache"
    )
    assert (root / "a.txt").read_text() == "1\n"
    assert sh(f"{sys.executable} -m dvc exp list --name-only", root).split() == [
        "happy-fox-01234567"
    ]


SETTINGS = """
[commit]
  gpgSign = true
[gpg]
  program = false
[diff]
  noprefix = true
  external = false
  relative = true
  context = 0
  mnemonicPrefix = true
  renames = copies
  submodule = log
[color]
  ui = always
[core]
  quotePath = true
  hooksPath = %s
  pager = false
  fsmonitor = true
[user]
  useConfigOnly = true
[apply]
  whitespace = error
[clone]
  rejectShallow = true
[protocol "file"]
  allow = never
[fetch]
  prune = true
"""


def test_what_git_is_told_elsewhere_does_not_matter(root, tmp_path, monkeypatch):
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in (
        "post-checkout",
        "pre-commit",
        "prepare-commit-msg",
        "post-commit",
        "reference-transaction",
    ):
        (hooks / name).write_text("#!/bin/sh\necho no; exit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "gitconfig").write_text(SETTINGS % hooks)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    for name, value in (
        ("GIT_DIR", "/nowhere"),
        ("GIT_INDEX_FILE", "/nowhere/index"),
        ("GIT_EXTERNAL_DIFF", "false"),
        ("PAGER", "false"),
        ("LC_ALL", "C"),
        ("SHELL", "/bin/false"),
    ):
        monkeypatch.setenv(name, value)
    (root / "params.yaml").write_text("n: 2\nm: {k: 2}\n")
    (root / "zażółć gęślą.txt").write_text("trailing  \n")
    git(root, "add", "--", "zażółć gęślą.txt")
    with workspace(root, Job("k", "x", ["m.k=3"]), print) as copy:
        assert "n: 2" in (copy / "params.yaml").read_text()
        assert (copy / "zażółć gęślą.txt").read_text() == "trailing  \n"
    assert len(git(root, "for-each-ref", "refs/exps").splitlines()) == 1


TEXTS = [
    "/data/[a]/x",
    "/data/a,b",
    "/data/x=y",
    "/a b/c",
    "/a#b",
    "/é/ü/日本",
    "/a!b",
    "/a(b)/c",
    "/a{b}/c",
    "it's/x",
    '/a"b/c',
    "~/x",
    "s3://b/x?y=1&z",
    "C:\\x\\y'",
    "/a;b",
    "/a$(touch x)",
    "[a]/b",
    "/a`b\\",
    "hf:x/y,z",
    "/a\\'b",
    "猫",
    "a: b",
    "x=y",
    "50 % #1",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_value_is_the_text_that_was_typed(text):
    """With what Hydra's grammar takes for lists, several values, mappings, functions or comments,
    or cannot read.
    """
    from dvc.utils.hydra import to_hydra_overrides

    (found,) = to_hydra_overrides([literal(f"params.yaml:a.b={text}").partition(":")[2]])
    assert not found.is_sweep_override()
    assert found.value() == text


@pytest.mark.parametrize(
    "override",
    [
        "a=1",
        "a=[x,y]",
        "+a={b:[1,2]}",
        "a='x,y'",
        "~a",
        "a=1,2",
        "a=choice(x,y)",
        "a=[x",
        "a={b",
        "a='x",
        "a=null",
        "a=",
        "a=x/y",
    ],
)
def test_what_the_grammar_reads_and_mistakes_in_it_stay(override):
    assert literal(override) == override


def test_a_path_reaches_params_yaml_as_it_was_typed(root):
    with workspace(root, Job("k", "x", ["m.k=/data/[a],b=c/é's"]), print) as copy:
        assert yaml.safe_load((copy / "params.yaml").read_text())["m"] == {"k": "/data/[a],b=c/é's"}


def test_a_project_in_a_folder_of_a_larger_repository(repository, tmp_path):
    """Its neighbours have changes, too; its cache and its remotes are found from the copy."""
    top = tmp_path / "mono repo [1] ü"
    top.mkdir()
    sh("git init -q && echo 1 > other.txt", top)
    root = repository(DAG).rename(top / "sub")
    shutil.rmtree(root / ".git")
    (root / "params.yaml").write_text("n: 1\nm: {k: 2}\n")
    (root / ".gitignore").write_text("/a.txt\n")
    with (
        pytest.raises(WorkspaceError, match="git rev-parse"),
        workspace(root, Job("k", "x", ["n=2"]), print),
    ):
        pass
    sh("git add other.txt && git -c user.name=t -c user.email=t@t commit -qm t", top)
    untracked = pytest.raises(
        WorkspaceError, match=r"sub is no part of the repository .*: commit it"
    )
    with untracked, workspace(root, Job("k", "x", ["n=2"]), print):
        pass
    dvc = f"{sys.executable} -m dvc"
    sh(
        f"{dvc} remote add -d store ../store && {dvc} config --local remote.store.url ../store2",
        root,
    )
    sh(f"{dvc} repro -q && git add -A . && git -c user.name=t -c user.email=t@t commit -qm t", root)
    (root / "params.yaml").write_text("n: 3\nm: {k: 2}\n")
    (top / "other.txt").write_text("2\n")
    with workspace(root, Job("k", "night", ["m.k=4"]), print) as copy:
        assert copy == root / COPIES / "flow-k" / "sub"
        assert yaml.safe_load((copy / "params.yaml").read_text()) == {"n": 3, "m": {"k": 4}}
        assert (copy.parent / "other.txt").read_text() == "2\n"
        local = configparser.ConfigParser()
        local.read(copy / ".dvc" / "config.local")
        for section, key, place in (
            ("cache", "dir", root / ".dvc" / "cache"),
            ("'remote \"store\"'", "url", top / "store2"),
        ):
            assert not local[section][key].startswith("/"), "it may move"
            assert (copy / ".dvc" / local[section][key]).resolve() == place.resolve()
        sh(f"{dvc} repro -q", copy)
    (name,) = sh(f"{dvc} exp list --name-only", root).split()
    assert name == "night-k"
    ref = sh("git for-each-ref --format='%(refname)' refs/exps", root).strip()
    assert "k: 4" in sh(f"git show {ref}:sub/params.yaml", top)
    made = hashlib.md5(b"3\n").hexdigest()
    assert (root / ".dvc" / "cache" / "files" / "md5" / made[:2] / made[2:]).exists()


def test_a_folder_without_git_is_one_line_that_says_what_to_do(repository):
    root = repository(DAG)
    shutil.rmtree(root / ".git")
    (root / "params.yaml").write_text("n: 1\n")
    no_copy = pytest.raises(WorkspaceError, match="`git init && git add -A")
    with no_copy as caught, workspace(root, Job("k", "x", ["n=2"]), print):
        pass
    assert "\n" not in str(caught.value)
    with pytest.raises(
        PlanError, match=r"is not a git repository; `git init`, or .* core.no_scm true`$"
    ):
        read(root)
    sh(f"{sys.executable} -m dvc config --local core.no_scm true", root)
    assert [stage.name for stage in read(root)] == ["a"]
    with workspace(root, Job("k", "x"), print) as folder:
        assert folder == root


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    missing = pytest.raises(WorkspaceError, match="nope: no such folder")
    with missing, workspace(tmp_path / "nope", Job("k", "x"), print):
        pass
    assert not (tmp_path / "nope").exists()


def test_a_run_that_failed_finds_its_copy_again(root):
    job, said = Job("k", "night", ["n=5"]), []
    copy = root / COPIES / "flow-k"
    with contextlib.suppress(ZeroDivisionError), workspace(root, job, said.append):
        (copy / "half").touch()
        raise ZeroDivisionError
    assert sh("git for-each-ref refs/exps", root) == ""
    with workspace(root, job, said.append) as again:
        assert again == copy
        assert (again / "half").exists()
    assert said[1] == f"going on in {copy}"


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("nope=1", r"overrides nope=1: .*nope"),
        ("n=1,2", "several values are several runs"),
        ("n", "overrides n: "),
    ],
)
def test_a_wrong_override_is_one_line_and_leaves_no_copy(root, override, why):
    with (
        pytest.raises(WorkspaceError, match=why) as caught,
        workspace(root, Job("k", "x", [override]), print),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert not (root / COPIES / "flow-k").exists()


def test_a_repository_without_a_commit_is_one_line(repository):
    root, job = repository(DAG), Job("k", "x", ["n=1"])
    with pytest.raises(WorkspaceError, match="git rev-parse"), workspace(root, job, print):
        pass


def test_old_copies_are_deleted_unless_somebody_works_there(tmp_path):
    for name in ("flow-old", "flow-new", "flow-busy", "other"):
        mark = tmp_path / COPIES / name / ".git" / "prepared"
        mark.parent.mkdir(parents=True)
        mark.touch()
        if name != "flow-new":
            os.utime(mark, (time.time() - 4 * 86400,) * 2)
    with held(tmp_path / COPIES / "flow-busy.lock", "x", print):
        busy = (
            "from pathlib import Path; from flows.workspace import sweep; "
            f"sweep(Path({str(tmp_path)!r}))"
        )
        subprocess.run([sys.executable, "-c", busy], check=True)
    assert {p.name for p in (tmp_path / COPIES).glob("*/")} == {"flow-new", "flow-busy", "other"}
    sweep(tmp_path)
    assert {p.name for p in (tmp_path / COPIES).glob("*/")} == {"flow-new", "other"}
    shutil.rmtree(tmp_path / COPIES)
    sweep(tmp_path)


REPORTS = """
stages:
  train:
    foreach: [x, y]
    do:
      cmd: echo ${item} ${n} > ${item}.txt
      params: [n]
      outs:
      - ${item}.txt
  score:
    foreach: [x, y]
    do:
      cmd: "wc -c < ${item}.txt > ${item}.yaml && sed -i 's/^/miou: /' ${item}.yaml"
      deps:
      - ${item}.txt
      metrics:
      - ${item}.yaml:
          cache: false
  report:
    cmd: "cat x.yaml y.yaml > all.txt && echo 'best: 4' > metrics.yaml"
    deps: [x.yaml, y.yaml]
    outs:
    - all.txt:
        cache: false
    metrics:
    - metrics.yaml:
        cache: false
"""


def test_an_experiment_of_some_stages_does_not_show_the_numbers_of_the_others(repository):
    """n: 1 -> 1000 changes what both recipes come to; only x is trained and scored again."""
    root, dvc = repository(REPORTS), f"{sys.executable} -m dvc"
    (root / "params.yaml").write_text("n: 1\nm: 1\n")
    (root / ".gitignore").write_text("/x.txt\n/y.txt\n")
    sh(f"{dvc} repro -q && git add -A && git -c user.name=t -c user.email=t@t commit -qm t", root)
    said = []
    with workspace(root, Job("0123456789", "pretrain", ["n=1000"]), said.append) as copy:
        sh(f"{dvc} repro -q score@x", copy)
    rows = json.loads(sh(f"{dvc} exp show --json", root))[1]
    (experiment,) = rows["experiments"]
    found = {
        name: one["data"]
        for name, one in experiment["revs"][0]["data"]["metrics"].items()
        if one.get("data")
    }
    assert found == {"x.yaml": {"miou": 7}}, "y and the report are of n: 1"
    assert rows["data"]["metrics"]["y.yaml"]["data"] == {"miou": 4}
    assert (
        said[1]
        == "left out of the experiment, since this run did not make them: all.txt, metrics.yaml, "
        "y.yaml"
    )
    with workspace(root, Job("1123456789", "other", ["m=2"]), said.append) as copy:
        pass
    assert (root / "metrics.yaml").exists()
    assert not [line for line in said[3:] if line.startswith("left out")], "nothing depends on m"


def test_overrides_are_checked_before_dvc_makes_anything_of_them(root):
    """`check-params` of the copy's own library, as a process: a flow imports none."""
    (root / "captionseg").mkdir()
    (root / "captionseg" / "params.py").touch()
    (root / "captionseg" / "__main__.py").write_text(
        "import sys\nfrom pathlib import Path\nassert sys.argv[1:] == ['check-params', "
        "'--no-files']\nif 'n: 7' in Path('params.yaml').read_text():\n    sys.exit('error: n: 7 "
        "is too much\\nm: as well')\n"
    )
    sh("git add -A && git -c user.name=t -c user.email=t@t commit -qm u", root)
    wanted = r"overrides n=7: n: 7 is too much; m: as well$"
    with (
        pytest.raises(WorkspaceError, match=wanted),
        workspace(root, Job("k", "night", ["n=7"]), print),
    ):
        pass
    assert not list((root / COPIES).glob("*/"))
    with workspace(root, Job("k", "night", ["n=6"]), print) as copy:
        assert "n: 6" in (copy / "params.yaml").read_text()
