"""Checkpoints of a fit: the best weights so far, and the state that a killed fit resumes from."""

from __future__ import annotations

import io
import logging
import signal
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from captionseg.model_inputs import Batch
from captionseg.records import one_line
from captionseg.runtime import ranks
from captionseg.storage.writing import atomic_path
from captionseg.training.batches import Batches
from captionseg.training.curve import Curve
from captionseg.training.lean_lightning import Callback, TorchCheckpointIO, Trainer

CHECKPOINT = "last.ckpt"
log = logging.getLogger(__name__)
Score = Callable[[nn.Module], float]


class Checkpoint(NamedTuple):
    """A checkpoint that a fit resumes from, written after `step` steps."""

    path: Path
    step: int


def find_checkpoint(path: Path, curve: Curve) -> Checkpoint | None:
    """Return the checkpoint that the first rank finds, or None; all ranks must call it.

    A checkpoint that cannot be read, or is newer than the curve on disk, is ignored with a warning.
    """
    step = ranks.share(read_step(path, curve) if curve.path else None)
    return None if step is None else Checkpoint(path, step)


def read_step(path: Path, curve: Curve) -> int | None:
    """Return the number of steps of a checkpoint; None, with a warning, if it is unusable.

    Raises:
        OSError: for an error of the disk.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as file:  # torch does not check checksums
            if damaged := file.testzip():
                raise ValueError(f"{damaged} is damaged")
        checkpoint = torch.load(path, weights_only=True, mmap=True)
        step = int(checkpoint["global_step"])
        if (
            missing := {"state_dict", "optimizer_states", "lr_schedulers", "loops", "captionseg"}
            - checkpoint.keys()
        ):
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        if (known := curve.reach()) < step:
            raise ValueError(f"it is from step {step}, but {curve.path} ends at {known}")
    except Exception as error:  # an invalid file can raise anything
        if isinstance(error, OSError) and error.errno:
            raise
        log.warning(
            "%s: cannot resume from this checkpoint (%s), so this seed is trained from the start",
            path,
            one_line(error) or type(error).__name__,
        )
        path.unlink()
        return None
    return step


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically.

    Lightning writes them to TMPDIR and copies them, which leaves partial files if it is killed.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """See CheckpointIO."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        with atomic_path(path) as part:
            part.write_bytes(buffer.getbuffer())


class CheckpointCallback(Callback):
    """Scores the model after each epoch, keeps the best weights, and writes checkpoints.

    Args:
        batches: the batches, whose epoch is set.
        score: model -> tune mIoU; None keeps the last epoch. Only the first rank calls it.
        path: file of the checkpoint.
        interval: steps between checkpoints, in addition to those after epochs; 0 for none.
    """

    def __init__(
        self, batches: Batches, score: Score | None, path: Path, *, interval: int = 0
    ) -> None:
        self.batches, self.score, self.path, self.interval = batches, score, path, interval
        self.on_signal = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """See Callback: restore the handler of SIGTERM."""
        # Lightning's own would end the process with code 0, after communication with all ranks.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.on_signal)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """See Callback: set the epoch of the batches."""
        self.batches.start_at(trainer.current_epoch * len(self.batches))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Batch, batch_idx: int
    ) -> None:
        """See Callback: seed dropout by seed, step and rank, so that a resumed fit is the same."""
        # checkpoints have no random state, and iterators of DataLoaders draw random numbers
        place = [self.batches.seed, trainer.global_step, trainer.global_rank, 2]
        seed = int(np.random.default_rng(place).integers(2**62))
        if trainer.strategy.root_device.type == "cpu":
            # for a GPU that it has not used yet, torch would note the stack of each call
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """See Callback: write a checkpoint every `interval` steps, but not at the
        end of an epoch.
        """
        if (
            self.interval
            and trainer.global_step % self.interval == 0
            and trainer.global_step % len(self.batches)
        ):
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """See Callback: score the model, keep it if it is the best, and write a checkpoint."""
        pl_module.count()
        if pl_module.counts:
            pl_module.curve.step(trainer.global_step - 1, pl_module.counts)
            pl_module.counts = {}
        model, main = pl_module.gather_model(), trainer.is_global_zero
        score = ranks.share(
            self.tune_score(model, trainer.strategy.root_device) if main else float("nan")
        )
        pl_module.curve.epoch(trainer.global_step, score)
        if trainer.current_epoch == 0 or score != score or score > pl_module.best_score:
            pl_module.best_score = score
            if main:
                pl_module.best = {
                    k: v.detach().cpu().clone() for k, v in model.state_dict().items()
                }
        trainer.save_checkpoint(self.path)

    def tune_score(self, model: nn.Module, device: torch.device) -> float:
        """Return the tune score of a model on a device; NaN without one.

        The model is on its own device and in training mode afterwards.
        """
        if self.score is None:
            return float("nan")
        before = next(model.parameters()).device
        score = self.score(model.eval().to(device))
        model.train().to(before)
        return score

    def on_save_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict) -> None:
        """See Callback: add the best weights and the counts."""
        pl_module.count()
        pl_module.curve.save()
        checkpoint["captionseg"] = {
            "best": pl_module.best,
            "best_score": pl_module.best_score,
            "counts": pl_module.counts,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: Any, checkpoint: dict) -> None:
        """See Callback: restore the best weights and the counts."""
        state = checkpoint["captionseg"]
        pl_module.best = state["best"] if trainer.is_global_zero else {}
        pl_module.best_score, pl_module.counts = state["best_score"], state["counts"]
