"""Random batches, and two ranks that gather from each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from captionseg.modeling.segmenter import Segmenter
from captionseg.records import Batch, Inputs

REGION, TEXT, CONCEPTS, DENSE = 7, 6, 12, 5


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """images, regions, texts, drawn (per image, how many of the texts are real), seed -> a random batch."""

    def make(images: int = 8, regions: int = 5, texts: int = 3, drawn: list[int] | None = None, seed: int = 0) -> Batch:
        g = torch.Generator().manual_seed(seed)
        count = torch.randint(1, regions + 1, (images, 1), generator=g)
        concept = torch.stack([torch.randperm(CONCEPTS, generator=g)[:texts] for _ in range(images)])
        if drawn is not None:
            concept = torch.where(torch.arange(texts) < torch.tensor(drawn)[:, None], concept, -1)
        table = torch.randn(CONCEPTS, TEXT, generator=g)
        return Batch(
            torch.randn(images, regions, REGION, generator=g), torch.arange(regions) < count,
            torch.randn(images, TEXT, generator=g), concept[:, :2], table[concept.clamp(min=0)], concept,
            torch.cat([concept, torch.randint(-1, CONCEPTS, (images, 2), generator=g)], 1),
            masked_embedding=torch.randn(images, TEXT, generator=g), masked_target=concept[:, :2],
        )  # fmt: skip

    return make


@pytest.fixture
def make_inputs() -> Callable[..., Inputs]:
    """images, regions, side of the grid of labels, size -> random inputs; every region is somewhere."""

    def make(images: int = 2, regions: int = 4, side: int = 6, size: tuple[int, int] = (9, 13)) -> Inputs:
        g = torch.Generator().manual_seed(0)
        labels = torch.arange(side * side).reshape(side, side) * regions // (side * side)
        return Inputs(
            torch.randn(images, regions, REGION, generator=g), torch.ones(images, regions, dtype=torch.bool),
            labels.to(torch.uint8).expand(images, -1, -1), size, dense=torch.randn(images, 3, 4, DENSE, generator=g),
        )  # fmt: skip

    return make


def rows(batch: Batch, part: slice) -> Batch:
    return batch.map(lambda tensor: tensor[part])


class Ranks:
    """Ranks of one process: each is a thread, and `gather` waits for what the others have to say."""

    def __init__(self, world: int) -> None:
        self.world, self.said, self.barrier = world, [None] * world, threading.Barrier(world, timeout=20)

    def gather(self, rank: int) -> Callable[[Tensor], Tensor]:
        def gather(tensor: Tensor) -> Tensor:
            self.said[rank] = tensor
            self.barrier.wait()
            everything = torch.cat(self.said)  # type: ignore[arg-type]
            self.barrier.wait()
            return everything

        return gather

    def losses(self, model: Segmenter, batch: Batch) -> list[dict[str, Tensor]]:
        """Each rank's losses of its part of the batch."""
        size = len(batch.regions) // self.world
        outputs = [model(rows(batch, slice(r * size, (r + 1) * size))) for r in range(self.world)]
        with ThreadPoolExecutor(self.world) as pool:
            jobs = [pool.submit(model.losses, outputs[r], self.gather(r), rank=r) for r in range(self.world)]
            return [job.result() for job in jobs]


@pytest.fixture
def ranks() -> Callable[[int], Ranks]:
    return Ranks
