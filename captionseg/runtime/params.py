"""Section `runtime` of params.yaml. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captionseg.typed import Count, Natural, ShareAboveZero

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class RuntimeParams:
    """Section `runtime` of params.yaml. Only `precision` decides what comes out; the rest decides
    where and how fast.

    Attributes:
        devices: processes (a GPU each, where there are any) of one machine that train one model
            together.
        nodes: machines that do; each is started by torchrun or a cluster.
        strategy: auto is ddp where there is more than one process; fsdp shards parameters,
            gradients and the optimiser's state over them.
        precision: of training, where `pretrain` or a recipe names none.
        compile: torch.compile of the model's forward pass in training.
        checkpoint_steps: steps of training between checkpoints, beside one at the end of each
            epoch; 0 is none.
        fan_out: what spreads shards: processes of this machine, or ray.
        workers: processes that shards are spread over; 0 takes one a core, or what a stage says,
            and one a GPU where it computes there; 1 stays in the stage's own.
        ray: address of a Ray cluster; empty starts one on this machine.
        gpu_share: share of a GPU that each worker takes where a stage computes on one.
    """

    devices: Count = 1
    nodes: Count = 1
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    precision: Precision = "fp32"
    compile: bool = False
    checkpoint_steps: Natural = 0
    fan_out: Literal["processes", "ray"] = "processes"
    workers: Natural = 0
    ray: str = ""
    gpu_share: ShareAboveZero = 1.0

    def __post_init__(self) -> None:
        if self.devices < 1 or self.nodes < 1:
            raise ValueError("devices and nodes must be at least 1")
        if self.workers < 0 or self.checkpoint_steps < 0:
            raise ValueError("workers and checkpoint_steps must not be negative")
        if not 0.0 < self.gpu_share <= 1.0:
            raise ValueError(f"gpu_share must be above 0 and at most 1, found {self.gpu_share}")


HERE = RuntimeParams(workers=1)
"""Everything in the process that asks."""
