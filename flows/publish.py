"""Publishes the reports of a run as Prefect artifacts.

Only those of stages that this run brought up to date: other reports belong to older runs.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.logging import get_run_logger

from flows.artifact_text import defuse, escape, format_block, format_code
from flows.plan import Stage
from flows.ports import LOOPBACK

PATIENCE = 600.0  # seconds that MLflow may take, including uploads of models
PICTURE = 900  # width of a picture in pixels; an artifact is a row in the server's database


def publish(root: Path, stages: Sequence[Stage], run_id: str) -> None:
    """Publish artifacts `metrics`, `validation`, `comparison`, `overlays` and `mlflow` of these
    stages.

    Errors are logged as warnings, because the stages have succeeded.
    """
    synchronise(root, stages, run_id)
    try:
        show(root, stages, run_id)
    except Exception as error:
        warn(f"artifacts: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def synchronise(root: Path, stages: Sequence[Stage], run_id: str) -> None:
    """Record the results in MLflow, even if no stage ran that would have done it."""
    reports = "reports/metrics.json" in {out for stage in stages for out in stage.outs}
    if not reports or not (root / "dvc.lock").exists():
        return
    environ = {**os.environ, "CAPTIONSEG_FLOW_RUN": run_id, "PYTHONPATH": str(root)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "captionseg", "sync"],
            cwd=root,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return warn(f"MLflow: {error}")
    if done.returncode:
        warn(f"MLflow: {(done.stderr.strip().splitlines() or ['no error message'])[-1]}")


def warn(problem: str) -> None:
    """Log a warning of the run; outside of a run, do nothing."""
    with contextlib.suppress(RuntimeError):
        get_run_logger().warning(problem)


def show(root: Path, stages: Sequence[Stage], run_id: str) -> None:
    """Create the artifacts of `publish`."""
    outs = {out for stage in stages for out in stage.outs}
    makers = {
        "metrics": ("reports/metrics.json", publish_metrics),
        "validation": ("reports/validation.json", publish_validation),
        "comparison": ("reports/comparison.md", publish_comparison),
        "overlays": ("reports/pictures", publish_overlays),
    }
    for key, (report, make) in makers.items():
        if report in outs and (text := make(root)):
            create_markdown_artifact(markdown=text, key=key, description=report)
    if link := find_mlflow_run(run_id):
        create_link_artifact(
            link=link,
            link_text="the recipes of this run in MLflow",
            key="mlflow",
            description="scores and curves side by side",
        )


def publish_failure(stage: str, message: str, lines: Sequence[str]) -> None:
    """Create artifact `failure`: the stage, the reason, and the last lines of its log."""
    head = [
        f"## Stage {format_code(stage)} failed",
        "",
        escape(message),
        "",
        "Last lines of its log:",
        "",
    ]
    text = "\n".join([*head, *format_block(lines)])
    create_markdown_artifact(markdown=text, key="failure", description=f"stage {escape(stage)}")


def publish_metrics(root: Path) -> str:
    """Format reports/metrics.json as a table, with the path of the report."""
    path, page = root / "reports" / "metrics.json", root / "reports" / "index.html"
    if not path.exists():
        return ""
    return format_table(json.loads(path.read_text(encoding="utf-8"))) + (
        f"\n\nPage: {format_code(page)}\n" if page.exists() else "\n"
    )


def publish_validation(root: Path) -> str:
    """Format reports/validation.json: the verdict, a row per table, and all failures."""
    path = root / "reports" / "validation.json"
    if not path.exists():
        return ""
    validation = json.loads(path.read_text(encoding="utf-8"))
    rows, failed = ["| table | expectations | failed |", "|---|---:|---:|"], []
    for name, of in validation["tables"].items():
        bad = [one for one in of["expectations"] if not one["success"]]
        rows.append(f"| {escape(name)} | {len(of['expectations'])} | {len(bad)} |")
        failed += [
            f"- {escape(name)}: {escape(one['expectation'])} of {format_code(one.get('column'))}: "
            f"{format_code(one['observed'])}"
            for one in bad
        ]
    verdict = "passed" if validation["success"] else "FAILED"
    pages = f"Pages: {format_code(root / 'reports' / 'validation' / 'index.html')}"
    return "\n".join([f"**{verdict}**", "", *rows, "", *failed, "", pages])


def publish_comparison(root: Path) -> str:
    """Return reports/comparison.md without its pictures, which are separate files, and with the
    path of its page.
    """
    path = root / "reports" / "comparison.md"
    if not path.exists():
        return ""
    text = "\n".join(
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("![")
    )
    return f"Page: {format_code(path.with_suffix('.html'))}\n\n{defuse(text)}\n"


def publish_overlays(root: Path) -> str:
    """Return reports/pictures/overlays.jpg, shrunk and embedded in the text: a server on another
    machine cannot read the file.
    """
    from PIL import Image

    path = root / "reports" / "pictures" / "overlays.jpg"
    if not path.exists():
        return ""
    with Image.open(path, formats=["JPEG"]) as image:
        image.thumbnail((PICTURE, 20 * PICTURE))
        image.convert("RGB").save(made := io.BytesIO(), "JPEG", quality=80)
    data = base64.b64encode(made.getvalue()).decode()
    return f"![segmented test pictures](data:image/jpeg;base64,{data})\n\n{format_code(path)}\n"


def find_mlflow_run(run_id: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the address of the comparison of a flow run's recipes in MLflow, or of its own page if
    it has none; empty without a server (MLFLOW_TRACKING_URI).
    """
    address = environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    if not address.startswith("http"):
        return ""
    url = httpx.URL(address)
    user = environ.get("MLFLOW_TRACKING_USERNAME", url.username)
    auth = (user, environ.get("MLFLOW_TRACKING_PASSWORD", url.password)) if user else None
    server = str(url.copy_with(username=None, password=None)).rstrip("/")  # without credentials
    api = f"{server}/api/2.0/mlflow"
    try:
        with httpx.Client(timeout=20, auth=auth, trust_env=url.host not in LOOPBACK) as client:
            name = client.get(
                f"{api}/experiments/get-by-name", params={"experiment_name": "captionseg"}
            )
            if name.status_code == 404:  # nothing was ever recorded
                return ""
            experiment = name.raise_for_status().json()["experiment"]["experiment_id"]
            where = f"tags.reproduction = 'flow-{run_id}' and tags.role != 'stage'"
            query = {
                "experiment_ids": [experiment],
                "filter": where,
                "order_by": ["attributes.start_time ASC"],
            }
            runs = (
                client.post(f"{api}/runs/search", json=query)
                .raise_for_status()
                .json()
                .get("runs", [])
            )
    except (httpx.HTTPError, KeyError, ValueError) as error:
        warn(f"no link to MLflow: {error}")
        return ""
    return build_address(server, experiment, runs) if runs else ""


def build_address(server: str, experiment: str, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the address of MLflow's page on runs: its comparison of recipes, if some are recipes,
    else the page of the first.

    Args:
        server: address of MLflow.
        experiment: id of its experiment.
        runs: runs as its REST API returns them.
    """
    role = {"key": "role", "value": "recipe"}
    recipes = [run["info"]["run_id"] for run in runs if role in run.get("data", {}).get("tags", [])]
    if not recipes:
        return f"{server}/#/experiments/{experiment}/runs/{runs[0]['info']['run_id']}"
    compared, experiments = (quote(json.dumps(names)) for names in (recipes, [experiment]))
    return f"{server}/#/compare-runs?runs={compared}&experiments={experiments}"


def format_table(values: Mapping[str, Any]) -> str:
    """Format the numbers in `values` as a Markdown table, by dotted name."""
    rows = [f"| {escape(name)} | {value:.6g} |" for name, value in flatten(values)]
    return "\n".join(["| metric | value |", "|---|---:|", *rows])


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    """Return (dotted name, number) for each number."""
    leaves = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            leaves += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            leaves.append((f"{prefix}{key}", value))
    return leaves
