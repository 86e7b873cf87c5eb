"""Start-up: processor time of what each process imports before it works, against plain imports.

    python -m perf.imports [--rounds 3] [NAME ...]

A stage imports its module and builds the sections of params.yaml that it reads. The reference is
the same process with the libraries of its work imported the plain way, by their own names; the
ratio is that of the sums over all stages, segment and the writer. Packages are the ones whose
modules take longest by themselves (`python -X importtime`).
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

from tqdm import tqdm

from stages.run import STAGES

STAGE = """
import stages.run
stage = stages.run.import_stage("{name}")
params = stages.run.Params("params.yaml")
for name in stage.PARAMS:
    if "{{" not in name:
        section, _, value = name.partition(".")
        params.value(name) if value else getattr(params, section)
"""
OTHERS = {
    "segment": """
import captionseg.cli
from captionseg.runtime.start_up import collect_nothing
with collect_nothing():
    import captionseg.api.drawing, captionseg.api.model, captionseg.api.result_files
    import captionseg.inference.predictor
""",
    "writer": "from captionseg.tracking import store, writer; store.import_client()",
    "tests": "import tests.conftest",
    "dvc": "import dvc.cli",
}
PLAIN = {
    "download": "numpy, pyarrow.parquet, PIL.Image",
    "caption": "numpy, pyarrow.parquet, httpx",
    "index": "torch, timm, faiss, pyarrow.parquet",
    "regions": "numpy, scipy.ndimage, pyarrow.parquet",
    "curate": "torch, scipy.sparse, faiss, pyarrow.parquet",
    "segment_text": "torch, pyarrow.parquet",
    "validate": "great_expectations, pyarrow.parquet",
    "pretrain": "torch, lightning, pyarrow.parquet",
    "evaluate": "torch, timm, pyarrow.parquet",
    "report": "matplotlib, jinja2, pyarrow.parquet",
    "compare": "matplotlib, jinja2, pyarrow.parquet",
    "segment": "torch, timm, PIL.Image",
    "writer": "mlflow",
}
"""Libraries of a process's work; those without any are not compared."""
MODULES = "\nimport sys; print(len(sys.modules))"
OWN = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


class Start(NamedTuple):
    """What a process spends on imports: seconds of a processor, and modules."""

    seconds: float
    modules: int


def write_code(name: str) -> str:
    """What a process imports, as a program."""
    return OTHERS[name] if name in OTHERS else STAGE.format(name=name)


def start(code: str) -> Start:
    """Run a program that only imports."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code + MODULES],
        capture_output=True,
        text=True,
        check=True,
    )
    after = os.times()
    spent = after.children_user + after.children_system
    return Start(
        spent - before.children_user - before.children_system, int(done.stdout.split()[-1])
    )


def list_heaviest(code: str, count: int = 5) -> str:
    """Name the packages whose own modules take longest, with their seconds."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "importtime", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    spent: Counter[str] = Counter()
    for microseconds, module in OWN.findall(done.stderr):
        spent[module.partition(".")[0]] += int(microseconds)
    return ", ".join(f"{name} {us / 1e6:.2f}" for name, us in spent.most_common(count))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.imports", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all", default=[])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    names = arguments.names or [*STAGES, *OTHERS]
    ours: dict[str, list[Start]] = {name: [] for name in names}
    plain: dict[str, list[Start]] = {name: [] for name in names if name in PLAIN}
    for _ in tqdm(range(arguments.rounds), desc="rounds"):
        for name in names:
            ours[name].append(start(write_code(name)))
            if name in PLAIN:
                plain[name].append(start(f"import {PLAIN[name]}"))
    print(f"{'':14}{'seconds':>8}{'modules':>9}{'plain':>8}  longest by themselves")
    seconds = {}
    for name in names:
        seconds[name] = statistics.median(run.seconds for run in ours[name])
        reference = [run.seconds for run in plain.get(name, ())]
        print(
            f"{name:14}{seconds[name]:8.2f}{ours[name][0].modules:9}"
            f"{f'{statistics.median(reference):8.2f}' if reference else '':8}"
            f"  {list_heaviest(write_code(name))}"
        )
    total = sum(statistics.median(run.seconds for run in runs) for runs in plain.values())
    print(f"ratio {total / max(sum(seconds[name] for name in plain), 1e-9):.2f}")


if __name__ == "__main__":
    main()
