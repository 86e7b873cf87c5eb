"""A segmentation model as Lightning trains it: losses, optimiser, gradients."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from captionseg.model_inputs import Batch
from captionseg.modeling.capabilities import CountsInTraining, HasLateParameters
from captionseg.modeling.segmenter import gather_single
from captionseg.records import UserError
from captionseg.runtime import ranks
from captionseg.training import sharded
from captionseg.training.curve import Curve
from captionseg.training.params import PretrainParams
from captionseg.training.schedule import make_scheduler


class LightningSegmenter(L.LightningModule):
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
