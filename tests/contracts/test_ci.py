"""The workflow of GitHub Actions: what it runs exists, on the Pythons that the package says it is
for.
"""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
JOBS = WORKFLOW["jobs"]
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]


def test_it_runs_on_pull_requests_and_on_main():
    on = WORKFLOW[True]  # YAML's `on`
    assert set(on) == {"pull_request", "push"}
    assert on["push"] == {"branches": ["main"]}


def test_it_makes_what_there_is_to_make():
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {
        name: re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))
        for name, step in STEPS
        if "make " in step.get("run", "")
    }
    assert made == {"check": ["check"], "gate": ["gate"]}
    assert {target for words in made.values() for target in words} <= targets


def test_pythons_are_those_of_the_package():
    allowed = SpecifierSet(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    )
    minors = {f"3.{minor}" for minor in range(8, 30) if allowed.contains(f"3.{minor}.0")}
    assert set(JOBS["check"]["strategy"]["matrix"]["python"]) == minors
    used = {
        step["with"]["python-version"]
        for _, step in STEPS
        if "setup-python" in step.get("uses", "")
    }
    assert used <= minors | {"${{ matrix.python }}"}


@pytest.mark.parametrize("name", JOBS)
def test_every_job_has_the_whole_history_and_a_cache_of_the_lock(name):
    by_use = {
        step["uses"].split("@")[0]: step.get("with", {})
        for step in JOBS[name]["steps"]
        if "uses" in step
    }
    assert by_use["actions/checkout"]["fetch-depth"] == 0
    assert by_use["actions/setup-python"]["cache-dependency-path"] == "requirements.lock"
    assert all(
        re.fullmatch(r"[\w./-]+@v\d+", step["uses"])
        for step in JOBS[name]["steps"]
        if "uses" in step
    )


def test_only_the_gate_may_write_and_only_comments():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name: job.get("permissions") for name, job in JOBS.items()} == {
        "check": None,
        "gate": {"contents": "read", "pull-requests": "write"},
    }


def test_the_gate_tells_its_verdict_where_the_token_may_only_read():
    gate = JOBS["gate"]["steps"]
    wrote = next(
        re.search(r"--markdown (\S+)", step["run"])[1]
        for step in gate
        if "make gate" in step.get("run", "")
    )
    summary, comment = (
        next(s for s in gate if s.get("name") == name) for name in ("Summary", "Comment")
    )
    assert summary["run"] == f'cat {wrote} >> "$GITHUB_STEP_SUMMARY"'
    assert wrote in comment["with"]["script"]
    assert "catch (error)" in comment["with"]["script"]
    assert all("!cancelled()" in step["if"] for step in (summary, comment))


def test_words_of_strangers_never_reach_a_shell():
    """Names of branches and titles are anybody's; they come in by the environment."""
    assert not [step["run"] for _, step in STEPS if "${{" in step.get("run", "")]
