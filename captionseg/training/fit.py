"""The fit loop of all models, on Lightning.

Device, precision and ranks are decided here and in captionseg.runtime only.
"""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from captionseg.modeling.segmenter import InputSpec
from captionseg.records import UserError
from captionseg.runtime import ranks
from captionseg.runtime.device import Runtime, detect
from captionseg.runtime.forks import is_fork
from captionseg.runtime.launch import Place
from captionseg.runtime.params import RuntimeParams
from captionseg.training import sharded
from captionseg.training.augment import Augmenter, Cropper
from captionseg.training.batch_texts import BatchTexts
from captionseg.training.batches import Batches, check_split, make_loader
from captionseg.training.checkpoint import (
    CHECKPOINT,
    AtomicCheckpointIO,
    CheckpointCallback,
    Score,
    find_checkpoint,
)
from captionseg.training.curve import Curve
from captionseg.training.lean_lightning import (
    DDPStrategy,
    LightningEnvironment,
    TorchElasticEnvironment,
    Trainer,
    seed_everything,
)
from captionseg.training.lightning_module import LightningSegmenter
from captionseg.training.params import PretrainParams
from captionseg.training.training_set import TrainingSet

ALONE = RuntimeParams()
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True)
class FitResult:
    """The result of a fit.

    Attributes:
        state: state dict of the best weights; empty on ranks other than the first.
        tune_miou: their mIoU on the tune split in 0..1; NaN without a tune split.
        loss: last training loss.
        images_per_second: training speed over all ranks.
        seconds: duration of the training.
    """

    state: dict[str, Tensor]
    tune_miou: float
    loss: float
    images_per_second: float
    seconds: float


def check_runtime(params: PretrainParams, runtime: RuntimeParams) -> Runtime:
    """Return the device and the precision of a fit.

    Raises:
        UserError: if params and runtime contradict each other.
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
    """Train one model; resumes from a checkpoint in `work` that a killed run left.

    Every rank calls it with the same arguments, within `ranks.join_ranks`. The first rank scores
    and writes; all resume from its checkpoint.

    Args:
        model: a Segmenter.
        data: the training pairs.
        params: section `pretrain`.
        seed: of order, draws and dropout; the caller has initialised the model.
        score: model -> tune mIoU, which chooses the best epoch; None keeps the last epoch.
        curve: records losses and tune scores.
        work: folder for checkpoints.
        runtime: section `runtime`.

    Raises:
        UserError: if params and runtime contradict each other, or the loss is not finite.
    """
    silence_lightning()
    on, place = check_runtime(params, runtime), ranks.get_place(runtime)
    seed_everything(seed, verbose=False)
    batches = make_batches(model, data, params, seed=seed, place=place)
    split = runtime.strategy == "fsdp" and place.world > 1
    module = LightningSegmenter(model, params, params.epochs * len(batches), curve, split=split)
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
    batches.start_at(first)  # workers of a resumed fit start before Lightning sets the epoch
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


def silence_lightning() -> None:
    """Suppress Lightning's advice about workers and devices, and warnings about views."""
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings(
        "ignore", "Grad strides do not match bucket view|FSDP2-wrapped module .* returned a view"
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def make_batches(
    model: Any, data: TrainingSet, params: PretrainParams, *, seed: int, place: Place
) -> Batches:
    """Return the batches of a rank, with everything that the model reads."""
    reads: InputSpec = model.config.reads
    words = BatchTexts(data, reads, params.text_prompts) if data.sentences else None
    augment = (
        (Cropper if reads.segments else Augmenter)(params.augment, reads.picture)
        if data.pictures
        else None
    )
    batches = Batches(
        data,
        batch=params.batch,
        texts=params.texts,
        seed=seed,
        rank=place.rank,
        world=place.world,
        words=words,
        augment=augment,
    )
    batches.shuffle = params.shuffle
    return batches


def make_trainer(
    params: PretrainParams, runtime: RuntimeParams, on: Runtime, checkpoints: CheckpointCallback
) -> Trainer:
    """Return Lightning's trainer. It starts no processes: captionseg.runtime.launch does."""
    several = runtime.devices * runtime.nodes > 1
    strategy: Any = "auto"
    if several and runtime.strategy == "fsdp":
        strategy = sharded.ShardedStrategy(runtime.devices * runtime.nodes)
    elif several:
        # a loss that is not computed in some steps leaves parameters without gradients
        strategy = DDPStrategy(find_unused_parameters=True)
    return Trainer(
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
        enable_progress_bar=not is_fork(),
        enable_checkpointing=False,
        deterministic=True,
        default_root_dir=checkpoints.path.parent,
        use_distributed_sampler=False,
    )
