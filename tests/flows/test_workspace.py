import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from filelock import FileLock

from flows.locks import hold_lock
from flows.workspace import COPIES, LOCK, Job, sweep, workspace
from tests.flows.conftest import sh

PROGRAM = """
import sys, time
from pathlib import Path
from flows.locks import hold_lock
with hold_lock(Path(sys.argv[1]), "nightly", print):
    print("mine", flush=True)
    time.sleep(600)
"""


def test_who_waits_is_told_who_works_and_the_dead_hold_nothing(tmp_path):
    path, said = tmp_path / "a" / "b" / "w.lock", []
    holder = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "mine\n"
    threading.Timer(0.5, holder.kill).start()  # no chance to clean up
    with hold_lock(path, "by hand", said.append, patience=0.1):
        assert holder.wait(240) != 0
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
    assert said[1] == f"continuing in {copy}"


def test_old_copies_are_deleted_unless_somebody_works_there(tmp_path):
    for name in ("flow-old", "flow-new", "flow-busy", "other"):
        mark = tmp_path / COPIES / name / ".git" / "prepared"
        mark.parent.mkdir(parents=True)
        mark.touch()
        if name != "flow-new":
            os.utime(mark, (time.time() - 4 * 86400,) * 2)
    with hold_lock(tmp_path / COPIES / "flow-busy.lock", "x", print):
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
        == "not in the experiment, because this run did not update them: all.txt, metrics.yaml, "
        "y.yaml"
    )
    with workspace(root, Job("1123456789", "other", ["m=2"]), said.append) as copy:
        pass
    assert (root / "metrics.yaml").exists()
    assert not [line for line in said[3:] if line.startswith("not in the experiment")], (
        "nothing depends on m"
    )
