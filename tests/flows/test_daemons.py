import os
import shutil
import sys
import time

import psutil

from flows import daemons

# A parent that starts a child in a session of its own, and dies: nothing but the environment says
# whose it is.
ORPHANS = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True)"


def until(what):
    end = time.monotonic() + 240
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def launch(folder, name, *command):
    return daemons.launch(
        name, command, folder=folder, cwd=folder, env=dict(os.environ), url="http://x"
    )


def test_a_daemon_is_found_by_its_file_until_it_ends(tmp_path):
    daemon = launch(tmp_path, "one", "sh", "-c", "echo up; sleep 60")
    assert daemons.list_running(tmp_path) == {"one": daemon}
    until(lambda: daemons.read_tail(daemon) == "up")
    assert daemons.stop(tmp_path, last=lambda name: False) == 2
    assert daemons.list_running(tmp_path) == {}
    assert not daemon.alive


def test_another_process_with_the_same_number_is_not_it(tmp_path):
    me = daemons.Daemon("one", os.getpid(), psutil.Process().create_time() - 60, "", "")
    assert not me.alive
    assert daemons.Daemon("one", os.getpid(), psutil.Process().create_time(), "", "").alive


def test_orphans_are_ended_though_no_file_names_them_and_others_are_not(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    launch(tmp_path / "a", "one", sys.executable, "-c", ORPHANS)
    other = launch(tmp_path / "b", "one", "sleep", "600")
    until(lambda: [p.name() for _, p in daemons.list_marked(tmp_path / "a")] == ["sleep"])
    assert daemons.list_running(tmp_path / "a") == {}
    assert daemons.stop(tmp_path / "a", last=lambda name: False) == 1
    assert daemons.list_marked(tmp_path / "a") == []
    assert other.alive
    daemons.stop(tmp_path / "b", last=lambda name: False)


def test_the_last_outlive_the_others_and_who_ignores_sigterm_is_killed(tmp_path):
    launch(
        tmp_path,
        "server",
        "sh",
        "-c",
        "trap 'date +%s.%N > server; exit' TERM; while :; do sleep .05; done",
    )
    launch(tmp_path, "worker", "sh", "-c", "trap '' TERM; touch ready; while :; do sleep .05; done")
    until((tmp_path / "ready").exists)
    begun = time.time()
    daemons.stop(tmp_path, last=lambda name: name == "server", grace=1.0)
    assert daemons.list_marked(tmp_path) == []
    assert float((tmp_path / "server").read_text()) > begun + 0.9


def test_a_daemon_is_found_though_its_file_is_gone_or_half_written(tmp_path):
    """As after a starter that was killed, or somebody who deleted the folder."""
    daemon = launch(
        tmp_path, "one", sys.executable, "-c", f"{ORPHANS}; import time; time.sleep(600)"
    )
    # the child leads a session as the daemon does
    until(lambda: len(daemons.list_marked(tmp_path)) == 2)
    (tmp_path / "run" / "one.json").write_text('{"name": "one", ')
    assert daemons.list_running(tmp_path) == {"one": daemon}
    (tmp_path / "run" / "one.json").unlink()
    assert daemons.list_running(tmp_path) == {"one": daemon}
    assert daemons.stop(tmp_path, last=lambda name: False) == 2


def test_a_daemon_stays_ours_where_the_checkout_is_renamed_and_a_copy_has_none(tmp_path):
    old, new, copy = (tmp_path / name / ".services" for name in ("old", "new", "copy"))
    old.mkdir(parents=True)
    daemon = launch(old, "one", "sleep", "600")
    shutil.copytree(old.parent, copy.parent)
    old.parent.rename(new.parent)
    assert daemons.list_running(copy) == {}, "its file was copied, it was not"
    found = daemons.list_running(new)["one"]
    assert (found.pid, found.folder, found.log) == (
        daemon.pid,
        str(old),
        str(new / "logs" / "one.log"),
    )
    assert daemons.stop(copy, last=lambda name: False) == 0
    assert daemons.stop(new, last=lambda name: False) == 1


def test_a_clock_that_is_set_ends_nothing(tmp_path):
    """When a process began is counted from the boot, whose time moves with the clock."""
    daemon = launch(tmp_path, "one", "sleep", "600")
    path = tmp_path / "run" / "one.json"
    path.write_text(path.read_text().replace(str(daemon.started), str(daemon.started - 3600)))
    assert daemons.list_running(tmp_path).keys() == {"one"}
    daemons.stop(tmp_path, last=lambda name: False)
