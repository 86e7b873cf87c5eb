"""The one fit loop, on Lightning. Which device, which precision, how many ranks: decided here and
in runtime only.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from captionseg.model_inputs import Batch
from captionseg.modeling.capabilities import CountsInTraining, HasLateParameters
from captionseg.modeling.segmenter import InputSpec, gather_single
from captionseg.records import UserError
from captionseg.runtime import ranks
from captionseg.runtime.device import Runtime, detect
from captionseg.runtime.launch import Place
from captionseg.runtime.params import RuntimeParams
from captionseg.training import sharded
from captionseg.training.augment import Augmenter, Cropper
from captionseg.training.batches import Batches, Words, check_split, make_loader
from captionseg.training.checkpoint import (
    CHECKPOINT,
    AtomicCheckpointIO,
    CheckpointCallback,
    Score,
    find_checkpoint,
)
from captionseg.training.curve import Curve
from captionseg.training.loader import TrainingSet
from captionseg.training.params import PretrainParams

ALONE = RuntimeParams()
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class FitResult:
    """What a fit leaves: the best weights, their tune score (NaN without a tune split), and how
    fast it went.

    On ranks other than the first there are no weights.
    """

    state: dict[str, Tensor]
    tune_miou: float
    loss: float
    images_per_second: float
    seconds: float


class Module(L.LightningModule):
    """A model as Lightning wants it.

    Args:
        model: the caller's.
        params: section `pretrain`.
        steps: of the whole fit.
        curve: see fit.
        split: whether its parameters are shared out over the ranks; then a twin of the model is
            trained, and `gather_model` puts the weights into the model.
    """

    def __init__(
        self, model: Any, params: PretrainParams, steps: int, curve: Curve, *, split: bool = False
    ) -> None:
        super().__init__()
        self.unregistered = (model,)  # not a part of this module
        self.model: Any = sharded.copy_parameters(model) if split else model
        self.params_, self.steps, self.curve, self.split = params, steps, curve, split
        self.late_from = model.late_from * steps if isinstance(model, HasLateParameters) else 0.0
        self.best: dict[str, Tensor] = {}
        self.best_score = float("nan")
        self.counts: dict[str, float] = {}

    def configure_model(self) -> None:
        if self.split:
            assert self.device_mesh is not None
            sharded.split(self.model, self.device_mesh)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        world = self.trainer.world_size
        gather = ranks.gather if world > 1 else gather_single
        losses = self.model.losses(self.model(batch), gather, rank=self.global_rank)
        total = torch.stack(list(losses.values())).sum()
        sums = ranks.sum_over_ranks(torch.stack([total, *losses.values()])) / world
        values: dict[str, float] = dict(zip(("loss", *losses), sums.tolist(), strict=True))
        if not torch.isfinite(sums[0]):
            raise UserError(
                f"loss is {values['loss']} at step {self.global_step}; lower pretrain.learning_rate"
            )
        self.curve.step(self.global_step, values)
        return total

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        return batch.map(lambda tensor: tensor.to(device, non_blocking=True))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        # Parameters that train late have gradients from the first step, which ranks average as they
        # do all others, and which are thrown away here. Were they frozen instead, DDP, which looks
        # for parameters once, would miss them.
        if self.global_step < self.late_from:
            for parameter in self.model.late_parameters():
                parameter.grad = None
        if self.split:
            sharded.average(self.model)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        if self.split:
            sharded.clip(self.model, self.params_.gradient_clip)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        p = self.params_
        groups = [
            {
                "params": [w for w in self.model.parameters() if (w.ndim > 1) is decayed],
                "weight_decay": p.weight_decay if decayed else 0.0,
            }
            for decayed in (True, False)
        ]
        optimiser = torch.optim.AdamW(
            sharded.separate_sharded(groups) if self.split else groups, lr=p.learning_rate
        )
        schedule = make_scheduler(optimiser, p, self.steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def gather_model(self) -> nn.Module:
        """The caller's model with the weights of now, on the first rank; every rank has to
        call it.
        """
        if self.split:
            sharded.collect(self.model, self.unregistered[0])
        return self.unregistered[0]

    def count(self) -> None:
        """Ask the model what it counted on all ranks since it was last asked; every rank has to
        call it.
        """
        counts = self.model.take_counts() if isinstance(self.model, CountsInTraining) else {}
        if counts:
            totals = ranks.sum_over_ranks(
                torch.tensor(list(counts.values()), dtype=torch.float64)
            ).tolist()
            self.counts = {
                name: self.counts.get(name, 0.0) + n for name, n in zip(counts, totals, strict=True)
            }


def make_scheduler(optimiser: torch.optim.Optimizer, params: PretrainParams, steps: int) -> Any:
    """The learning rate of each of `steps` iterations; see `poly_factor` for the second kind.

    Raises:
        UserError: if poly never comes up to the learning rate.
    """
    if params.schedule == "one_cycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, params.learning_rate, total_steps=steps
        )
    if params.warmup > steps:
        raise UserError(
            f"pretrain.warmup: {params.warmup} is more than the {steps} training steps; lower it, "
            "or raise pretrain.epochs"
        )
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda t: poly_factor(t, steps, params.power, params.warmup)
    )


def poly_factor(step: int, steps: int, power: float, warmup: int = 0) -> float:
    """(1 - t / T)^power of the learning rate in iteration t of T; before `warmup` the share (t + 1)
    / warmup of it.
    """
    return max(0.0, 1.0 - step / steps) ** power * min(1.0, (step + 1) / max(1, warmup))


def check_runtime(params: PretrainParams, runtime: RuntimeParams) -> Runtime:
    """The device and the precision of a fit.

    Raises:
        UserError: if params and runtime do not fit together.
    """
    check_split(params.batch, runtime.devices * runtime.nodes)
    detected = detect(params.device, params.precision or runtime.precision)
    if runtime.strategy == "fsdp" and detected.precision == "fp16":
        raise UserError("runtime.strategy: fsdp does not support fp16; use fp32 or bf16")
    return detected


def fit(
    model: nn.Module,
    data: TrainingSet,
    params: PretrainParams,
    *,
    seed: int,
    score: Score | None,
    curve: Curve,
    work: Path,
    runtime: RuntimeParams = ALONE,
) -> FitResult:
    """Train one model; goes on from `work` where a killed run left a checkpoint.

    With several ranks each calls it alike, within `ranks.join_ranks`; the first scores and
    writes, and its checkpoint is what all go on from.

    Args:
        model: with `forward(batch)` and `losses(outputs, gather)`.
        data: the training pairs.
        params: section `pretrain`.
        seed: of initialisation (already done by the caller), order, draws and dropout.
        score: model -> tune mIoU, by which the best epoch is kept; None keeps the last.
        curve: where losses and tune scores go.
        work: folder for checkpoints.
        runtime: section `runtime`.

    Raises:
        UserError: if params and runtime do not fit together, or the loss is no number any more.
    """
    # advice about workers and devices, not about this run
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings(
        "ignore", "Grad strides do not match bucket view|FSDP2-wrapped module .* returned a view"
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    on, place = check_runtime(params, runtime), ranks.get_place(runtime)
    L.seed_everything(seed, verbose=False)
    batches = make_batches(model, data, params, seed=seed, place=place)
    split = runtime.strategy == "fsdp" and place.world > 1
    module = Module(model, params, params.epochs * len(batches), curve, split=split)
    checkpoints = CheckpointCallback(
        batches, score, work / CHECKPOINT, interval=runtime.checkpoint_steps
    )
    lightning, last = (
        make_trainer(params, runtime, on, checkpoints),
        find_checkpoint(work / CHECKPOINT, curve),
    )
    first = last.step if last else 0
    curve.resume(first)
    start = time.perf_counter()
    batches.start_at(first)  # workers of a resumed fit start before its epoch is told
    if runtime.compile:
        module.model.compile()
    lightning.fit(
        module,
        make_loader(batches, params.workers),
        ckpt_path=last.path if last else None,
        weights_only=True,
    )
    module.model._compiled_call_impl = None
    seconds = time.perf_counter() - start
    images = (params.epochs * len(batches) - first) * batches.batch
    return FitResult(module.best, module.best_score, curve.last_loss(), images / seconds, seconds)


def make_batches(
    model: Any, data: TrainingSet, params: PretrainParams, *, seed: int, place: Place
) -> Batches:
    """The batches of a rank, with what the model asks for."""
    asks: InputSpec = model.config.reads
    words = Words(data, asks, params.text_prompts) if data.sentences else None
    augment = (
        (Cropper if asks.segments else Augmenter)(params.augment, asks.picture)
        if data.pictures
        else None
    )
    return Batches(
        data,
        batch=params.batch,
        texts=params.texts,
        seed=seed,
        rank=place.rank,
        world=place.world,
        words=words,
        augment=augment,
    )


def make_trainer(
    params: PretrainParams, runtime: RuntimeParams, on: Runtime, checkpoints: CheckpointCallback
) -> L.Trainer:
    """Lightning's trainer; who starts processes and which ranks there are is not its
    business here.
    """
    several = runtime.devices * runtime.nodes > 1
    strategy: Any = "auto"
    if several and runtime.strategy == "fsdp":
        strategy = sharded.ShardedStrategy(runtime.devices * runtime.nodes)
    elif several:
        # a loss that rests leaves parameters out for some steps
        strategy = DDPStrategy(find_unused_parameters=True)
    return L.Trainer(
        max_epochs=params.epochs,
        accelerator="gpu" if on.device.startswith("cuda") else "cpu",
        devices=runtime.devices,
        num_nodes=runtime.nodes,
        strategy=strategy,
        plugins=[
            TorchElasticEnvironment() if several else LightningEnvironment(),
            AtomicCheckpointIO(),
        ],
        precision=_PRECISION[on.precision],  # type: ignore[arg-type]
        gradient_clip_val=params.gradient_clip,  # type: ignore[arg-type]
        callbacks=[checkpoints],
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        deterministic=True,
        default_root_dir=checkpoints.path.parent,
        use_distributed_sampler=False,
    )
