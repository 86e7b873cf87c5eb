"""No request leaves the machine while a flow runs: Prefect, the server that it starts, and DVC ask
for nothing.
"""

from pathlib import Path

from tests.flows.test_reproduce import copy_database
from tests.offline.guard import Guard

ROOT = Path(__file__).parents[2]


def test_the_flow_and_its_server_ask_for_nothing(server, repository, tmp_path):
    """As `python -m flows.reproduce` is typed, in an environment that says nothing of telemetry."""
    root, guard = (
        repository("stages: {a: {cmd: python -c 'import dvc' > a.txt, outs: [a.txt]}}"),
        Guard(tmp_path),
    )
    copy_database(tmp_path / ".prefect" / "prefect.db")  # making the tables takes seconds
    path = {"PYTHONPATH": f"{guard.environment()['PYTHONPATH']}:{ROOT}"}
    done = guard.python("-m", "flows.reproduce", "--root", str(root), cwd=ROOT, env=path)
    assert done.returncode == 0, done.stderr[-3000:]
    said = "\n".join(guard.recorded("process"))
    for words in (
        "-m flows.reproduce",
        "-m uvicorn",
        "-m dvc --wait-for-lock repro a",
        "-c import dvc",
    ):
        assert words in said
    assert guard.recorded("refused", "unwatched") == []
