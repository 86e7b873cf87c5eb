"""What the workers of tests do; imported by name in other processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captionseg.records import UserError


def square(number: int) -> int:
    return number * number


def told(number: int) -> tuple[int, int]:
    """The first job takes longest."""
    time.sleep(0.3 if number == 0 else 0.0)
    return number, os.getpid()


def hangs(folder: Path, number: int) -> None:
    """Says who it is, and does not end."""
    (folder / f"{number}.part").write_text(str(os.getpid()))
    (folder / f"{number}.part").rename(folder / f"{number}.pid")
    time.sleep(600)


def logged(folder: Path, number: int) -> int:
    """A line a job that is begun; the third fails."""
    with (folder / f"{number}.log").open("a") as stream:
        stream.write("begun\n")
    if number == 2:
        raise UserError("job 2: cannot be done; do another")
    return number


def broken(number: int) -> int:
    raise KeyError(number)


def unsendable(number: int) -> object:
    return lambda: number


def killed(folder: Path, times: int, number: int) -> int:
    """Jobs 1 kills its process, so many times, while others are at work."""
    with (folder / f"{number}.log").open("a") as stream:
        stream.write("begun\n")
    if number == 1 and len((folder / "1.log").read_text().splitlines()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.1)
    return number


def place(seconds: float, number: int) -> tuple[float, float, str, str]:
    """When the job began and ended, its GPUs and its threads."""
    start = time.time()
    time.sleep(seconds)
    return (
        start,
        time.time(),
        os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        os.environ.get("OMP_NUM_THREADS", ""),
    )


class Colours:
    """A joint space of three dimensions, and an encoder: the mean colours of 4 x 4 cells."""

    aligned, batch, fine = True, 5, 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return self.project_dense(
            np.array([[len(t), sum(map(ord, t)) % 17, ord(t[-1]) % 7] for t in texts]) + 1.0
        )

    def project_dense(self, dense: np.ndarray) -> np.ndarray:
        dense = dense.astype(np.float32)
        return dense / np.linalg.norm(dense, axis=-1, keepdims=True)

    def features(self, images: Sequence[np.ndarray]):
        from captionseg.encoders.encoder import Features

        cells = np.stack(
            [
                i.reshape(4, i.shape[0] // 4, 4, i.shape[1] // 4, 3).mean((1, 3)) / 255
                for i in images
            ]
        )
        return Features(cells.reshape(len(cells), -1), cells.reshape(len(cells), -1), cells)


class Deadly(Colours):
    """Its process dies at the first picture that anybody gives it, once.

    Args:
        mark: written by whom it has killed.
    """

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def features(self, images: Sequence[np.ndarray]):
        if not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().features(images)


def load_deadly(mark: Path, path: Path):
    """Loads an index; the process that does so first dies."""
    from captionseg.retrieval.faiss import FaissIndex

    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return FaissIndex.load(path, shared=True)
