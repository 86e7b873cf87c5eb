"""Section `runtime` of params.yaml. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from captionseg.typed import Count, Natural, ShareAboveZero

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class RuntimeParams:
    """Section `runtime` of params.yaml. Only `precision` changes results.

    Attributes:
        devices: number of processes per machine that train a model together, one per GPU if there
            are GPUs.
        nodes: number of machines that train a model together; each is started by torchrun or a
            cluster.
        strategy: auto is ddp for several processes; fsdp shards parameters, gradients and the
            state of the optimiser.
        precision: precision of training, unless `pretrain` or a recipe sets it.
        compile: whether the model's forward pass is compiled (torch.compile) in training.
        checkpoint_steps: steps between checkpoints, in addition to those after epochs; 0 for none.
        fan_out: workers for shards: processes of this machine, or ray.
        workers: number of workers; 0 means one per core, or per GPU for stages on GPUs; 1 means
            the process of the stage. On a CPU also how many seeds of a small model are trained at
            the same time.
        ray: address of a Ray cluster; empty starts one on this machine.
        gpu_share: share of a GPU that each worker uses.
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
"""Runs everything in the current process."""
