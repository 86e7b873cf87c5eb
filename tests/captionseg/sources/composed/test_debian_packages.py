"""Packages without root, tried on packages made here and an apt-get that is a script."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from captionseg.records import UserError
from captionseg.sources.composed import debian_packages
from captionseg.sources.composed.debian_packages import cache_folder, fetch

DPKG = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="dpkg-deb is not on this machine"
)


def make_deb(folder: Path, package: str, version: str = "1.0") -> Path:
    """A package that holds usr/share/PACKAGE/version."""
    tree = folder / f"tree_{package}_{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {package}\nVersion: {version}\nArchitecture: all\nMaintainer: n "
        "<n@example.org>\nDescription: x\n"
    )
    (tree / "usr" / "share" / package).mkdir(parents=True)
    (tree / "usr" / "share" / package / "version").write_text(version)
    deb = folder / f"{package}_{version}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, deb],
        check=True,
        capture_output=True,
    )
    return deb


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An apt-get first in PATH that runs a shell script and notes its arguments; returns (install,
    calls).
    """
    tools, log = tmp_path / "bin", tmp_path / "apt.log"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")

    def install(script: str) -> None:
        (tools / "apt-get").write_text(
            f'#!/bin/sh\necho "$PWD: $@" >> {log}\ncase "$*" in\n{script}\nesac\n'
        )
        (tools / "apt-get").chmod(0o755)

    def calls() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    install('*) echo "E: unexpected call" >&2; exit 100;;')
    return install, calls


def version(folders: dict[str, Path], package: str) -> str:
    return (folders[package] / "usr" / "share" / package / "version").read_text()


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONSEG_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("CAPTIONSEG_CACHE", "")
    assert cache_folder().name == "captionseg"


@DPKG
def test_a_package_put_there_by_hand_needs_no_network(tmp_path: Path, apt) -> None:
    home = tmp_path / "cache" / "debian"
    home.mkdir(parents=True)
    shutil.move(make_deb(tmp_path, "pictures"), home)
    folders = fetch(["pictures"], tmp_path / "cache")
    assert folders == {"pictures": home / "pictures"}
    assert version(folders, "pictures") == "1.0"
    assert apt[1]() == []


@DPKG
def test_fetched_once(tmp_path: Path, apt) -> None:
    """The lists and the cache are the caller's own; a second call asks nobody."""
    install, calls = apt
    for package in ("one", "two"):
        make_deb(tmp_path, package)
    install(
        f"*update*) ;;\n*download*one*two) cp {tmp_path}/one_1.0_all.deb "
        f"{tmp_path}/two_1.0_all.deb . ;;"
    )
    folders = fetch(["one", "two"], tmp_path / "cache")
    assert version(folders, "one") == version(folders, "two") == "1.0"
    home = tmp_path / "cache" / "debian"
    assert len(calls()) == 2
    for call in calls():
        assert call.startswith(f"{home}: ")
        assert f"Dir::State::lists={home}" in call
        assert f"Dir::Cache={home}" in call
    assert fetch(["one", "two"], tmp_path / "cache") == folders
    assert len(calls()) == 2
    assert not list(home.glob(".*.part"))


@DPKG
def test_two_at_once_fetch_once(tmp_path: Path, apt) -> None:
    """The second one waits: were it to unpack too, it would take away what the first one reads."""
    install, calls = apt
    make_deb(tmp_path, "pictures")
    install(f"*update*) sleep .1 ;;\n*download*) cp {tmp_path}/pictures_1.0_all.deb . ;;")
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: fetch(["pictures"], tmp_path / "cache"), range(2))
    assert first == second
    assert version(first, "pictures") == "1.0"
    assert len(calls()) == 2


@DPKG
def test_only_what_is_missing_is_fetched(tmp_path: Path, apt) -> None:
    install, calls = apt
    home = tmp_path / "cache" / "debian"
    home.mkdir(parents=True)
    for package in ("one", "two", "one-more"):
        make_deb(tmp_path, package)
    shutil.move(tmp_path / "one-more_1.0_all.deb", home)
    install(
        f"*update*) ;;\n*download*) cp {tmp_path}/one_1.0_all.deb {tmp_path}/two_1.0_all.deb . ;;"
    )
    fetch(["one", "one-more", "two"], tmp_path / "cache")
    assert calls()[-1].endswith("download one two"), (
        "a package whose name begins alike is another one"
    )


@DPKG
def test_a_list_that_cannot_be_updated_does_not_stop_us(
    tmp_path: Path, apt, caplog: pytest.LogCaptureFixture
) -> None:
    make_deb(tmp_path, "pictures")
    apt[0](
        '*update*) echo "E: third party" >&2; exit 100;;\n*download*) cp '
        f"{tmp_path}/pictures_1.0_all.deb . ;;"
    )
    assert version(fetch(["pictures"], tmp_path / "cache"), "pictures") == "1.0"
    assert "E: third party" in caplog.text


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            '*update*) ;;\n*) echo "first line" >&2; echo "E: no package" >&2; exit 100;;',
            "E: no package",
        ),
        ("*update*) ;;\n*) exit 1;;", "no message"),
        ("*) exit 0;;", "left no pictures_VERSION.deb"),
    ],
)
def test_a_fetch_that_fails_says_what_to_do(tmp_path: Path, apt, script: str, reason: str) -> None:
    apt[0](script)
    with pytest.raises(UserError, match=reason) as caught:
        fetch(["pictures"], tmp_path / "cache")
    message = str(caught.value)
    assert "by hand" in message
    assert str(tmp_path / "cache" / "debian") in message
    assert "\n" not in message
    assert "first line" not in message


def test_no_apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no apt-get .*pictures_VERSION\.deb .*shapes, or folder"):
        fetch(["pictures"], tmp_path / "cache")


def test_no_dpkg_deb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    home = tmp_path / "cache" / "debian"
    home.mkdir(parents=True)
    (home / "pictures_1_all.deb").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no dpkg-deb .*by hand"):
        fetch(["pictures"], tmp_path / "cache")


@DPKG
def test_a_broken_package_leaves_nothing(tmp_path: Path, apt) -> None:
    """Half a download is named; once it is replaced, everything goes on."""
    home = tmp_path / "cache" / "debian"
    home.mkdir(parents=True)
    whole = make_deb(tmp_path, "pictures").read_bytes()
    deb = home / "pictures_1.0_all.deb"
    for broken in (b"", b"no package", whole[: len(whole) // 2]):
        deb.write_bytes(broken)
        with pytest.raises(
            UserError, match=r"pictures_1\.0_all\.deb: not a readable package .*delete it"
        ) as caught:
            fetch(["pictures"], tmp_path / "cache")
        assert "\n" not in str(caught.value)
        assert [p.name for p in home.iterdir()] == [deb.name]
    deb.write_bytes(whole)
    assert version(fetch(["pictures"], tmp_path / "cache"), "pictures") == "1.0"


@DPKG
def test_the_cache_is_the_users(tmp_path: Path, apt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPTIONSEG_CACHE", str(tmp_path / "mine"))
    (tmp_path / "mine" / "debian").mkdir(parents=True)
    shutil.move(make_deb(tmp_path, "pictures"), tmp_path / "mine" / "debian")
    assert debian_packages.fetch(["pictures"])["pictures"].is_relative_to(tmp_path / "mine")
