"""The loss curve of a fit: an append-only CSV of means over all ranks.

Unlike with Lightning's CSVLogger, a resumed fit keeps the rows up to its checkpoint.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable
from pathlib import Path

from captionseg.storage.reading import explain_read_errors
from captionseg.storage.writing import atomic_path

Tell = Callable[[dict[str, float], int], None]
"""Function that is called with values and their step."""


class Curve:
    """Records rows (seed, step, name, value); they are written after epochs and before checkpoints.

    Args:
        path: file of the CSV; None writes nothing, for ranks other than the first.
        seed: seed of the fit.
        tell: called with the same values, with names prefixed by the seed.
    """

    def __init__(self, path: Path | None, seed: int, tell: Tell) -> None:
        self.path, self.seed, self.tell = path, seed, tell
        self.rows: list[tuple[int, str, float]] = []
        self.written = 0

    def resume(self, step: int) -> None:
        """Remove rows of a killed run after its last checkpoint at `step`."""
        # all rows, if the run restarts from the beginning
        before = read(self.path) if step else []
        self.rows = [
            (s, n, v) for s, n, v in before if s < step or (s == step and n == "tune_miou")
        ]
        self._write("w", self.rows)

    def reach(self) -> int:
        """Return the number of steps, from the first on, whose losses are in the file."""
        steps = {step for step, name, _ in read(self.path) if name == "loss"}
        return next(n for n in range(len(steps) + 1) if n not in steps)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Record the losses of a step, before its update."""
        self.rows += [(step, name, value) for name, value in values.items()]
        self.tell({f"seed{self.seed}.{name}": value for name, value in values.items()}, step)

    def epoch(self, step: int, tune_miou: float) -> None:
        """Record the end of an epoch, after `step` updates in total."""
        if tune_miou == tune_miou:
            self.rows.append((step, "tune_miou", tune_miou))
            self.tell({f"seed{self.seed}.tune_miou": tune_miou}, step)
        self.save()

    def save(self) -> None:
        """Write the rows that are not on disk yet."""
        self._write("a", self.rows[self.written :])

    def last_loss(self, share: float = 0.1) -> float:
        """Return the mean loss of the last `share` of the steps; NaN without any."""
        losses = [v for _, name, v in self.rows if name == "loss"]
        tail = losses[-max(1, int(len(losses) * share)) :]
        return sum(tail) / len(tail) if tail else float("nan")

    def _write(self, mode: str, rows: list[tuple[int, str, float]]) -> None:
        self.written = len(self.rows)
        if self.path is None:
            return
        # a whole file is replaced atomically, because a checkpoint needs its rows
        place = atomic_path(self.path) if mode == "w" else contextlib.nullcontext(self.path)
        with place as path, path.open(mode, encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            if mode == "w":
                writer.writerow(["seed", "step", "name", "value"])
            writer.writerows([self.seed, step, name, f"{value:.6g}"] for step, name, value in rows)


def read(path: Path | None) -> list[tuple[int, str, float]]:
    """Read the rows (step, name, value) of a curve, without an incomplete last line.

    There are none if there is no file.
    """
    if path is None or not path.exists():
        return []
    with explain_read_errors(path):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        rows = [
            row
            for row in csv.reader(line for line in lines if line.endswith("\n"))
            if row[0] != "seed"
        ]
        return [(int(step), name, float(value)) for _, step, name, value in rows]
