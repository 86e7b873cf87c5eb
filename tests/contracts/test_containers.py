"""Dockerfile and compose.yaml as far as a machine without Docker can read them: what they copy,
call and set exists, nothing listens beyond this machine, and no password is in them.
"""

from __future__ import annotations

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "captionseg-pipeline"}
FOREIGN = {"AWS_DEFAULT_REGION", "POSTGRES_DB", "POSTGRES_USER"}
"""Names that Amazon's library and PostgreSQL's image read."""


def instructions() -> list[tuple[str, str]]:
    """Instruction and argument of each line of the Dockerfile, continued ones joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Name of each stage -> its instructions, FROM first."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, argument in instructions():
        if word == "FROM":
            name = argument.split(" AS ")[1]
            found[name] = []
        if name:
            found[name].append((word, argument))
    return found


def test_images_are_slim_and_their_versions_are_named():
    python = next(a for w, a in instructions() if w == "ARG")
    assert SpecifierSet(PROJECT["requires-python"]).contains(f"{python.removeprefix('PYTHON=')}.0")
    made = [*stages()]
    for _, argument in (lines[0] for lines in stages().values()):
        base = argument.split(" AS ")[0]
        assert base == "python:${PYTHON}-slim" or base in made
    images = {one["image"] for one in SERVICES.values()} - {"captionseg-pipeline"}
    assert all(re.fullmatch(r"[\w/-]+:\d[\d.]*", image) for image in images)


def test_what_is_copied_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().split()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    copied = [a.split()[:-1] for w, a in instructions() if w == "COPY" and "--from" not in a]
    sources = {source for words in copied for source in words}
    assert sources == kept
    assert all((ROOT / source).exists() for source in sources)
    copies = [a for w, a in instructions() if w == "COPY" and "--from" in a]
    assert {re.search(r"--from=(\w+)", a)[1] for a in copies} <= stages().keys()


def test_images_that_are_used_run_without_root_and_keep_no_lists():
    for name in ("inference", "pipeline"):
        users = [argument for word, argument in stages()[name] if word == "USER"]
        assert users == ["captionseg"]
    for word, argument in instructions():
        if word == "RUN" and "apt-get install" in argument:
            assert "--no-install-recommends" in argument
            assert "rm -rf /var/lib/apt/lists/*" in argument
    assert [*stages()][-1] == "inference"


def test_packages_are_those_of_the_lock():
    runs = [argument for word, argument in instructions() if word == "RUN"]
    installs = [one for run in runs for one in re.findall(r"pip install ([^;]*)", run)]
    assert len(installs) == 3
    assert all("--constraint requirements.lock" in one for one in installs)
    extras = re.findall(r"\.\[([\w,]+)\]", " ".join(installs))
    assert {e for one in extras for e in one.split(",")} <= PROJECT["optional-dependencies"].keys()
    gone = re.search(r"pip uninstall --yes ([\w -]+)", " ".join(runs))
    assert gone
    own = {re.split(r"[<>=;]", line)[0] for line in PROJECT["dependencies"]}
    assert not own & {*gone[1].split()}


def test_shells_can_read_the_commands():
    for word, argument in instructions():
        if word == "RUN":
            done = subprocess.run(["bash", "-n", "-c", argument], capture_output=True, text=True)
            assert not done.stderr


def test_nothing_listens_beyond_this_machine():
    ports = [port for one in SERVICES.values() for port in one.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not [name for name, one in SERVICES.items() if "network_mode" in one]


def test_no_password_has_a_default():
    text = (ROOT / "compose.yaml").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)
    secret = {n for n in re.findall(r"\$\{(\w+)", text) if not n.startswith(("TORCH", "CUDA"))}
    assert secret == {"POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    for name in secret:
        assert f"${{{name}:?" in text  # refused where it is missing
        assert f"${{{name}:-" not in text
    set_here = {k: v for one in SERVICES.values() for k, v in environment(one).items()}
    for name, value in set_here.items():
        if re.search("PASSWORD|SECRET|KEY", name):
            assert value.startswith("${")
    assert "/.env" in (ROOT / ".gitignore").read_text().splitlines()


def environment(service: dict) -> dict[str, str]:
    return service.get("environment", {})


def test_variables_are_those_that_the_documents_and_the_flows_know():
    read = [ROOT / "docs" / "operations.md", *(ROOT / "flows").glob("*.py")]
    known = set(re.findall(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b", "".join(p.read_text() for p in read)))
    used = {name for one in SERVICES.values() for name in environment(one)}
    assert used - FOREIGN <= known
    assert used >= FOREIGN
    environ = [a for w, a in instructions() if w == "ENV"]
    names = set(re.findall(r"(\w+)=", " ".join(environ))) - {"PATH", "PYTHONPATH"}
    assert {n for n in names if not n.startswith("PIP_")} <= known


def test_clients_find_the_servers():
    for name, one in OURS.items():
        for value in environment(one).values():
            for host in re.findall(r"(?:://|@)([a-z]+)(?=[:/])", str(value)):
                assert host in SERVICES or host == "captionseg", f"{name}: {value}"
        for other in one.get("depends_on", ()):
            assert other in SERVICES
    volumes = {v.split(":")[0] for one in SERVICES.values() for v in one.get("volumes", ())}
    assert volumes - {"."} == COMPOSE["volumes"].keys()
    configs = {c["source"] for one in SERVICES.values() for c in one.get("configs", ())}
    assert configs == COMPOSE["configs"].keys()


@pytest.mark.parametrize("name", OURS)
def test_commands_exist(name):
    """Programs that the packages of the image bring, and modules of ours."""
    program, *rest = OURS[name]["command"]
    assert program in {"python", "prefect", "mlflow", "bash"}
    for module in re.findall(r"python -m ([\w.]+)", " ".join(rest)):
        assert ROOT.joinpath(*module.split(".")).with_suffix(".py").is_file()
    if program == "python":
        compile(rest[1], name, "exec")
    if rest[:2] == ["worker", "start"]:
        pools = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
        assert rest[rest.index("--pool") + 1] in {one["work_pool"]["name"] for one in pools}


def test_one_service_builds_the_image_that_the_others_use():
    built = [one["build"] for one in OURS.values() if "build" in one]
    assert len(built) == 1
    assert built[0]["target"] in stages()
    arguments = {a.split("=")[0] for w, a in stages()["packages"] if w == "ARG"}
    assert built[0]["args"].keys() <= arguments
    assert all(one["pull_policy"] == "never" for one in OURS.values())


def test_checkouts_that_are_mounted_are_where_the_image_expects_them():
    (folder,) = (a for w, a in stages()["pipeline"] if w == "WORKDIR")
    assert all(f".:{folder}" in one["volumes"] for one in OURS.values())
    assert any(fnmatch.fnmatch(a, f"*PYTHONPATH={folder} *") for w, a in stages()["pipeline"])
