"""The loss curve of one fit: an append-only CSV of our own, of the means over all ranks.

Lightning's CSVLogger forgets what was logged before a crash; this file is cut back to the
checkpoint and goes on.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable
from pathlib import Path

from captionseg.storage.reading import explain_read_errors
from captionseg.storage.writing import atomic_path

Tell = Callable[[dict[str, float], int], None]
"""Who else wants to know: values and the step they belong to."""


class Curve:
    """Rows (seed, step, name, value); every row is on disk when its epoch has ended, or before a
    checkpoint.

    Args:
        path: the CSV; made if it is not there. None writes nothing: for ranks other than the first.
        seed: written into each row.
        tell: is told the same, prefixed with the seed.
    """

    def __init__(self, path: Path | None, seed: int, tell: Tell) -> None:
        self.path, self.seed, self.tell = path, seed, tell
        self.rows: list[tuple[int, str, float]] = []
        self.written = 0

    def resume(self, step: int) -> None:
        """Forget what a killed run wrote after its last checkpoint at `step`."""
        # of a run from the start nothing is left, whatever the file holds
        before = read(self.path) if step else []
        self.rows = [
            (s, n, v) for s, n, v in before if s < step or (s == step and n == "tune_miou")
        ]
        self._write("w", self.rows)

    def reach(self) -> int:
        """How many steps, from the first on, the file has losses of."""
        steps = {step for step, name, _ in read(self.path) if name == "loss"}
        return next(n for n in range(len(steps) + 1) if n not in steps)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Losses of one step, before its update."""
        self.rows += [(step, name, value) for name, value in values.items()]
        self.tell({f"seed{self.seed}.{name}": value for name, value in values.items()}, step)

    def epoch(self, step: int, tune_miou: float) -> None:
        """The end of an epoch, after `step` updates in all."""
        if tune_miou == tune_miou:
            self.rows.append((step, "tune_miou", tune_miou))
            self.tell({f"seed{self.seed}.tune_miou": tune_miou}, step)
        self.save()

    def save(self) -> None:
        """Write what is not on disk yet."""
        self._write("a", self.rows[self.written :])

    def last_loss(self, share: float = 0.1) -> float:
        """Mean loss over the last tenth of the steps; NaN without any."""
        losses = [v for _, name, v in self.rows if name == "loss"]
        tail = losses[-max(1, int(len(losses) * share)) :]
        return sum(tail) / len(tail) if tail else float("nan")

    def _write(self, mode: str, rows: list[tuple[int, str, float]]) -> None:
        self.written = len(self.rows)
        if self.path is None:
            return
        # A whole file is written beside the old one: killed here, a run would lose what its
        # checkpoint counts on.
        place = atomic_path(self.path) if mode == "w" else contextlib.nullcontext(self.path)
        with place as path, path.open(mode, newline="") as stream:
            writer = csv.writer(stream)
            if mode == "w":
                writer.writerow(["seed", "step", "name", "value"])
            writer.writerows([self.seed, step, name, f"{value:.6g}"] for step, name, value in rows)


def read(path: Path | None) -> list[tuple[int, str, float]]:
    """The (step, name, value) rows of a curve, none where there is no file; a torn last line is
    left out.
    """
    if path is None or not path.exists():
        return []
    with explain_read_errors(path):
        lines = path.read_text().splitlines(keepends=True)
        rows = [
            row
            for row in csv.reader(line for line in lines if line.endswith("\n"))
            if row[0] != "seed"
        ]
        return [(int(step), name, float(value)) for _, step, name, value in rows]
