"""Pictures of the services for the documentation: a run in Prefect, recipes in MLflow, the
validation page.

    make screenshots            # services, one run of the flow, then this

Needs a Chromium on the PATH (Debian: apt-get install chromium) and `pip install playwright`, which
drives it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 30_000  # milliseconds until a page has what is waited for


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """The JSON answer of a server of this machine: to GET, or with a body to POST."""
    with httpx.Client(timeout=30, trust_env=False) as client:
        answer = client.get(url) if body is None else client.post(url, json=body)
        return answer.raise_for_status().json()


def prefect_page(server: str) -> str:
    """Address of the newest run of the flow that ended well.

    Raises:
        LookupError: there is none.
    """
    asked = {
        "flows": {"name": {"any_": ["reproduce"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        "sort": "END_TIME_DESC",
        "limit": 1,
    }
    runs = ask(f"{server}/api/flow_runs/filter", asked)
    if not runs:
        raise LookupError(
            "no run of the flow ended well: prefect deployment run reproduce/nightly --watch"
        )
    return f"{server}/runs/flow-run/{runs[0]['id']}"


def mlflow_page(server: str) -> str:
    """Address of the recipes of the newest reproduction, side by side.

    Raises:
        LookupError: there are none.
    """
    api = f"{server}/api/2.0/mlflow"
    experiment = ask(f"{api}/experiments/get-by-name?experiment_name=captionseg")["experiment"][
        "experiment_id"
    ]
    asked = {
        "experiment_ids": [experiment],
        "filter": "tags.role = 'recipe'",
        "order_by": ["attributes.start_time DESC"],
        "max_results": 50,
    }
    runs = ask(f"{api}/runs/search", asked).get("runs", [])
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in runs]
    parents = [found["reproduction"] for found in tags]
    newest = [
        run["info"]["run_id"]
        for run, parent in zip(runs, parents, strict=True)
        if parent == parents[0]
    ]
    if not newest:
        raise LookupError("MLflow has no recipe yet: make repro")
    runs, experiments = (quote(json.dumps(names)) for names in (newest, [experiment]))
    return f"{server}/#/compare-runs?runs={runs}&experiments={experiments}"


def take(pages: dict[str, tuple[str, str]], out: Path, chromium: str) -> None:
    """A picture of each page.

    Args:
        pages: name of the picture -> address, and a text that is on the page when it is ready.
        out: folder.
        chromium: the program.
    """
    from playwright.sync_api import sync_playwright  # pyright: ignore[reportMissingImports]

    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (address, text) in pages.items():
            page = browser.new_page(viewport={"width": 1500, "height": 1080})
            page.goto(address)
            page.get_by_text(text).first.wait_for(timeout=PATIENCE)
            tidy(page)
            if name == "mlflow":
                only_differences(page)
            page.screenshot(path=out / f"{name}.png")
            print(out / f"{name}.png")
        browser.close()


def tidy(page: Any) -> None:
    """Fold what hides the rest, and let charts come to rest."""
    for label in ("Close assistant", "Close"):
        found = page.get_by_role("button", name=label, exact=True)
        if found.count():
            found.first.click()
    page.wait_for_timeout(2500)


def only_differences(page: Any) -> None:
    """Params that differ, and the metrics below them, in place of MLflow's first chart."""
    page.get_by_text("Visualizations", exact=True).first.click()
    page.get_by_role("switch").first.click()  # of params; those after it are of metrics and tags
    page.wait_for_timeout(1000)


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0, or 1 after one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prefect", default="http://127.0.0.1:4200", help="(default: %(default)s)")
    parser.add_argument("--mlflow", default="http://127.0.0.1:5000", help="(default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "pictures", help="folder (default: %(default)s)"
    )
    arguments = parser.parse_args(argv)
    chromium = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    validation = ROOT / "reports" / "validation" / "index.html"
    try:
        if not chromium:
            raise LookupError("no Chromium on the PATH: apt-get install chromium")
        if not validation.exists():
            raise LookupError(f"{validation}: no such page; make repro")
        take(
            {
                "prefect": (prefect_page(arguments.prefect), "Completed"),
                "mlflow": (mlflow_page(arguments.mlflow), "miou"),
                "validation": (validation.as_uri(), "expectations"),
            },
            arguments.out,
            chromium,
        )
    except ImportError:
        print("error: playwright is not installed: pip install playwright", file=sys.stderr)
    except (LookupError, httpx.HTTPError) as error:
        print(f"error: {error}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
