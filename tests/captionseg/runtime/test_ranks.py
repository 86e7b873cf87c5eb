"""Gathering by two gloo processes: values in order, and the gradient of the mean of both losses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import json, sys
import torch
import torch.distributed as dist
from captionseg.modeling.layers.batch_norm import BatchNorm
from captionseg.runtime import ranks

rank, port = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
x = (torch.arange(6.0).view(2, 3) + 10 * rank).requires_grad_()
every = ranks.gather(x)
# A transposed use: the gradient that comes back is not contiguous.
(every.T * torch.arange(12.0).view(3, 4)).sum().mul(rank + 1.0).backward()
flags = ranks.gather(torch.tensor([rank == 1, True]))
# Batch norm of a part of 2 and one of 4 vectors of the 6.
part = torch.tensor(json.loads(sys.argv[3]))[slice(0, 2) if rank == 0 else slice(2, 6)]
part.requires_grad_()
norm = BatchNorm(3)
normed = norm(part)
normed.pow(3).sum().backward()
weight = norm.weight.grad.clone()
dist.all_reduce(weight)
norm(part.detach(), observe=False)
print(json.dumps({
    "every": every.tolist(), "gradient": x.grad.tolist(), "flags": flags.tolist(),
    "normed": normed.tolist(), "of_part": part.grad.tolist(), "of_weight": weight.tolist(),
    "mean": norm.running_mean.tolist(), "variance": norm.running_var.tolist(),
    "seen": norm.num_batches_tracked.item(),
}))
dist.destroy_process_group()
"""

VECTORS = [[1.0, 5.0, -2.0], [2.0, 5.5, 0.0], [3.0, 9.0, 1.0], [7.0, 4.0, 0.5], [0.0, 1.0, 4.0]]
VECTORS += [[-4.0, 2.0, 0.25]]


@pytest.fixture(scope="module")
def both() -> list[dict]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), port, json.dumps(VECTORS)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    done = [job.communicate(timeout=240) for job in jobs]
    assert all(job.returncode == 0 for job in jobs), done
    return [json.loads(out) for out, _ in done]


def test_every_rank_has_all_rows_in_the_order_of_ranks(both):
    expected = torch.cat([torch.arange(6.0).view(2, 3), torch.arange(6.0).view(2, 3) + 10]).tolist()
    assert [found["every"] for found in both] == [expected, expected]
    assert both[0]["flags"] == both[1]["flags"] == [False, True, True, True]


def test_gradients_of_all_ranks_are_summed_in_their_own_places(both):
    # the losses of rank 0 and rank 1, once and twice
    weight = torch.arange(12.0).view(3, 4).T * 3.0
    assert both[0]["gradient"] == weight[:2].tolist()
    assert both[1]["gradient"] == weight[2:].tolist()


def test_batch_norm_of_two_ranks_is_torchs_of_all_vectors(both):
    """Its values, gradients and running statistics, though the ranks have 2 and 4 vectors."""
    x = torch.tensor(VECTORS, requires_grad=True)
    norm = torch.nn.BatchNorm1d(3)
    normed = norm(x)
    normed.pow(3).sum().backward()
    for name, expected in (("normed", normed), ("of_part", x.grad)):
        found = torch.tensor(both[0][name] + both[1][name])
        torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    for found in both:
        torch.testing.assert_close(torch.tensor(found["of_weight"]), norm.weight.grad)
        torch.testing.assert_close(torch.tensor(found["mean"]), norm.running_mean)
        torch.testing.assert_close(torch.tensor(found["variance"]), norm.running_var)
        assert found["seen"] == 1
