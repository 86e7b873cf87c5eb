"""The one fit loop, on Lightning. Which device, which precision, how many ranks: decided here and in runtime only."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from captionseg.modeling.segmenter import Reads, alone
from captionseg.records import Batch, UserError
from captionseg.runtime import ranks
from captionseg.runtime.device import detect
from captionseg.training import PretrainParams
from captionseg.training.augment import Augmenter, Cropper
from captionseg.training.batches import Batches, Words
from captionseg.training.curve import Curve
from captionseg.training.loader import TrainingSet

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
Score = Callable[[nn.Module], float]


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves: the best weights, their tune score (NaN without a tune split), and how fast it went."""

    state: dict[str, Tensor]
    tune_miou: float
    loss: float
    images_per_second: float
    seconds: float


class _Module(L.LightningModule):
    """A model as Lightning wants it."""

    def __init__(self, model: Any, params: PretrainParams, steps: int, curve: Curve) -> None:
        super().__init__()
        self.model, self.params_, self.steps, self.curve = model, params, steps, curve
        self.late: list[nn.Parameter] = model.late() if hasattr(model, "late") else []
        self.late_from = model.config.late_from * steps if self.late else 0.0
        self.best: dict[str, Tensor] = {}
        self.best_score, self.last_loss = float("nan"), float("nan")

    def training_step(self, batch: Batch, _: int) -> Tensor:
        world = self.trainer.world_size
        gather = ranks.gather if world > 1 else alone
        losses = self.model.losses(self.model(batch), gather, rank=self.global_rank)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise UserError(f"loss is {total.item()} at step {self.global_step}; lower pretrain.learning_rate")
        values = {k: v.item() for k, v in losses.items()}
        self.curve.step(self.global_step, {"loss": total.item(), **values})
        return total

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.map(lambda tensor: tensor.to(device, non_blocking=True))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        # Parameters that train late have gradients from the first step, which ranks average as they do all others, and
        # which are thrown away here. Were they frozen instead, DDP, which looks for parameters once, would miss them.
        if self.global_step < self.late_from:
            for parameter in self.late:
                parameter.grad = None

    def configure_optimizers(self) -> Any:
        p = self.params_
        groups = [{"params": [w for w in self.model.parameters() if (w.ndim > 1) is decayed],
                   "weight_decay": p.weight_decay if decayed else 0.0} for decayed in (True, False)]
        optimiser = torch.optim.AdamW(groups, lr=p.learning_rate)
        schedule = scheduler(optimiser, p, self.steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def scheduler(optimiser: torch.optim.Optimizer, params: PretrainParams, steps: int) -> Any:
    """The learning rate of each of `steps` iterations; see `poly_factor` for the second kind."""
    if params.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(optimiser, params.learning_rate, total_steps=steps)
    return torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: poly_factor(t, steps, params.power, params.warmup))


def poly_factor(step: int, steps: int, power: float, warmup: int = 0) -> float:
    """(1 - t / T)^power of the learning rate in iteration t of T; before `warmup` the share (t + 1) / warmup of it."""
    return max(0.0, 1.0 - step / steps) ** power * min(1.0, (step + 1) / max(1, warmup))


class _KeepBest(Callback):
    """After each epoch: next epoch's data, the tune score, and the best weights so far. Part of each checkpoint."""

    def __init__(self, batches: Batches, score: Score | None) -> None:
        self.batches, self.score = batches, score

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.batches.epoch, self.batches.rank = trainer.current_epoch, trainer.global_rank

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        # Dropout depends on seed, step and rank alone: checkpoints hold no state of the random numbers, and making an
        # iterator of a DataLoader, which a resumed fit does at another time, draws from it.
        place = [self.batches.seed, trainer.global_step, trainer.global_rank, 2]
        torch.manual_seed(int(np.random.default_rng(place).integers(2**62)))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        score = float("nan")
        if (counted := getattr(pl_module.model, "counted", dict)()):
            pl_module.curve.step(trainer.global_step - 1, counted)
        if self.score is not None:
            pl_module.model.eval()
            score = self.score(pl_module.model)
            pl_module.model.train()
        pl_module.curve.epoch(trainer.global_step, score)
        if not pl_module.best or score != score or score > pl_module.best_score:
            pl_module.best_score = score
            pl_module.best = {k: v.detach().cpu().clone() for k, v in pl_module.model.state_dict().items()}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict) -> None:
        checkpoint["captionseg"] = {"best": pl_module.best, "best_score": pl_module.best_score}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: Any, checkpoint: dict) -> None:
        pl_module.best = checkpoint["captionseg"]["best"]
        pl_module.best_score = checkpoint["captionseg"]["best_score"]


def fit(model: nn.Module, data: TrainingSet, params: PretrainParams, *, seed: int, score: Score | None, curve: Curve,
        work: Path) -> Fitted:
    """Train one model; goes on from `work` where a killed run left a checkpoint.

    Args:
        model: with `forward(batch)` and `losses(outputs, gather)`.
        data: the training pairs.
        params: section `pretrain`.
        seed: of initialisation (already done by the caller), order, draws and dropout.
        score: model -> tune mIoU, by which the best epoch is kept; None keeps the last.
        curve: where losses and tune scores go.
        work: folder for checkpoints.
    """
    warnings.filterwarnings("ignore", module="lightning")  # advice about workers and devices, not about this run
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    L.seed_everything(seed, verbose=False)
    runtime = detect(params.device, params.precision)
    asks: Reads = model.config.reads  # type: ignore[union-attr,assignment]
    words = Words(data, asks, params.text_prompts) if data.sentences else None
    augment = (Cropper if asks.segments else Augmenter)(params.augment, asks.picture) if data.pictures else None
    batches = Batches(data, batch=params.batch, texts=params.texts, seed=seed, world=params.devices, words=words,
                      augment=augment)
    if batches.batch * params.devices < 2:
        raise UserError(f"pretrain.batch: a batch of one image has no negatives, so nothing is learnt; raise it (it is "
                        f"{params.batch}) or keep more rows (curation kept {len(data)})")
    module = _Module(model, params, params.epochs * len(batches), curve)
    checkpoint = ModelCheckpoint(dirpath=work, filename="epoch", save_top_k=1, every_n_epochs=1,
                                 save_on_train_epoch_end=True, enable_version_counter=False)
    trainer = L.Trainer(
        max_epochs=params.epochs, accelerator="gpu" if runtime.device.startswith("cuda") else "cpu",
        devices=params.devices, precision=_PRECISION[runtime.precision], gradient_clip_val=params.gradient_clip,  # type: ignore[arg-type]
        callbacks=[_KeepBest(batches, score), checkpoint], logger=False, enable_model_summary=False,
        deterministic=True, default_root_dir=work, use_distributed_sampler=False,
    )
    last = work / "epoch.ckpt"
    first = torch.load(last, weights_only=True)["global_step"] if last.exists() else 0
    curve.resume(first)
    start = time.perf_counter()
    batches.epoch = first // len(batches)  # workers of a resumed fit start before its epoch is told
    loader = DataLoader(batches, batch_size=None, num_workers=params.workers)
    trainer.fit(module, loader, ckpt_path=last if last.exists() else None, weights_only=True)
    seconds = time.perf_counter() - start
    images = (params.epochs * len(batches) - first) * batches.batch * params.devices
    return Fitted(module.best, module.best_score, curve.last_loss(), images / seconds, seconds)
