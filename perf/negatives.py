"""Which texts of a batch may be negatives: ours against the definition, compared all with all.

    python -m perf.negatives [--batch 4096] [--held 22] [--named 6] [--rounds 3]

Captions name up to `named` concepts, archives of pictures hold up to `held`, both drawn by Zipf's
law from a vocabulary of 20,000. Memory is what the process gains at most, the result included.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from captionseg.losses.contrastive import may_be_negative
from captionseg.runtime.device import detect
from perf.clock import compare
from perf.memory import watch_memory

VOCABULARY = 20_000


def compare_all(archive: Tensor, concepts: Tensor) -> Tensor:
    """The same by its definition, with an array [query, key, named, held]."""
    inside = (archive[:, None, None, :] == concepts[None, :, :, None]).any(-1)
    real = (concepts >= 0)[None]
    return (real & ~inside).any(-1) | ~real.any(-1)


def draw(rows: int, most: int, generator: torch.Generator) -> Tensor:
    """Concepts [rows, most] by Zipf's law, a third of them -1."""
    share = 1.0 / torch.arange(1, VOCABULARY + 1)
    concepts = torch.multinomial(share, rows * most, replacement=True, generator=generator)
    pad = torch.rand(rows * most, generator=generator) < 1 / 3
    return concepts.masked_fill(pad, -1).reshape(rows, most)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.negatives", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--held", type=int, default=22)
    parser.add_argument("--named", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    archive, concepts = (
        draw(arguments.batch, most, generator) for most in (arguments.held, arguments.named)
    )
    functions = {"captionseg": may_be_negative, "definition": compare_all}
    for name, function in functions.items():
        with watch_memory() as peak:
            function(archive, concepts)
        print(f"{name:12} {peak.most / 2**20:8.0f} MiB")
    forms = {n: lambda f=f: f(archive, concepts) for n, f in functions.items()}
    median, results = compare(forms, arguments.rounds, detect("cpu"))
    assert torch.equal(results["captionseg"], results["definition"])
    for name, seconds in median.items():
        print(f"{name:12} {seconds:8.3f} s")
    print(f"ratio {median['definition'] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
