"""A segmentation model as Lightning trains it: losses, optimiser, gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from captionseg.model_inputs import Batch
from captionseg.modeling.capabilities import CountsInTraining, HasLateParameters
from captionseg.modeling.segmenter import gather_single
from captionseg.records import UserError
from captionseg.runtime import ranks
from captionseg.training import sharded
from captionseg.training.curve import Curve
from captionseg.training.lean_lightning import LightningModule
from captionseg.training.params import PretrainParams
from captionseg.training.schedule import make_scheduler


class LightningSegmenter(LightningModule):
    """Trains a Segmenter with Lightning; see LightningModule.

    Args:
        model: the Segmenter.
        params: section `pretrain`.
        steps: number of steps of the whole fit.
        curve: records the losses.
        split: whether parameters are sharded over ranks (FSDP). Then a copy of the model is
            trained, and `gather_model` copies its weights to the model.
    """

    def __init__(
        self, model: Any, params: PretrainParams, steps: int, curve: Curve, *, split: bool = False
    ) -> None:
        super().__init__()
        self.unregistered = (model,)  # in a tuple, so that it is no submodule
        self.model: Any = sharded.copy_parameters(model) if split else model
        self.params_, self.steps, self.curve, self.split = params, steps, curve, split
        self.late_from = model.late_from * steps if isinstance(model, HasLateParameters) else 0.0
        self.best: dict[str, Tensor] = {}
        self.best_score = float("nan")
        self.counts: dict[str, float] = {}

    def configure_model(self) -> None:
        """See LightningModule: shard the parameters."""
        if self.split:
            assert self.device_mesh is not None
            sharded.split(self.model, self.device_mesh)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """See LightningModule: return the loss of a batch, and record its terms.

        Raises:
            UserError: if the loss is not finite.
        """
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
        """See LightningModule."""
        return batch.map(lambda tensor: tensor.to(device, non_blocking=True))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """See LightningModule: drop gradients of late parameters, and average sharded gradients."""
        # Late parameters have gradients from the first step. If they were frozen at first, DDP
        # would never synchronise them, because it only looks for parameters once.
        if self.global_step < self.late_from:
            for parameter in self.model.late_parameters():
                parameter.grad = None
        if self.split:
            sharded.average(self.model)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """See LightningModule; sharded gradients are clipped by their global norm."""
        if self.split:
            sharded.clip(self.model, self.params_.gradient_clip)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> Any:
        """See LightningModule: AdamW without weight decay for vectors, and for scalars unless
        decay_scalars.
        """
        p = self.params_

        def decays(weight: Tensor) -> bool:
            return weight.ndim > 1 or (p.decay_scalars and weight.ndim == 0)

        groups = [
            {
                "params": [w for w in self.model.parameters() if decays(w) is decayed],
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
        """Return the Segmenter with the current weights, on the first rank; all
        ranks must call it.
        """
        if self.split:
            sharded.collect(self.model, self.unregistered[0])
        return self.unregistered[0]

    def count(self) -> None:
        """Add the model's counts since the last call, summed over ranks; all ranks must call it."""
        counts = self.model.take_counts() if isinstance(self.model, CountsInTraining) else {}
        if counts:
            totals = ranks.sum_over_ranks(
                torch.tensor(list(counts.values()), dtype=torch.float64)
            ).tolist()
            self.counts = {
                name: self.counts.get(name, 0.0) + n for name, n in zip(counts, totals, strict=True)
            }
