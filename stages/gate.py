"""gate: does reports/metrics.json hold what params.yaml asks of it? Prints each rule; exits 1 on a miss.

python -m stages.gate [--metrics reports/metrics.json] [--params params.yaml]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from captionseg.params import Params
from captionseg.records import UserError
from captionseg.reporting.gate import judge


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 if every rule holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m stages.gate", description="Check metrics against the gate.")
    parser.add_argument("--metrics", type=Path, default=Path("reports/metrics.json"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    arguments = parser.parse_args(argv)
    try:
        verdicts = judge(Params(arguments.params).gate, json.loads(arguments.metrics.read_text()))
    except FileNotFoundError:
        print(f"error: {arguments.metrics}: no such file; run `dvc repro` first", file=sys.stderr)
        return 1
    except json.JSONDecodeError as error:
        print(f"error: {arguments.metrics}: not JSON: {error}", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*(verdicts or ["PASS  the gate has no rules"]), sep="\n")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
