"""What training at paper scale takes: parameters, operations, memory and hours, computed.

    python -m perf.paper_costs [NAME ...]

For each recipe of experiments/paper, one training step of the model in full size runs on the CPU
with random weights; frozen towers of USE run without numbers and give noise. torch counts the
operations of the forward and the backward pass, and the bytes that are kept for the backward pass.
Two and three pictures tell what each picture takes from what a step takes anyway. The losses see
the texts of the whole batch. All runs in fp32; where the recipe has bf16, 70 % of the bytes are
kept, as was measured for OVSegmentor.

Hours assume 100 TFLOP/s a GPU, a third of what an A100 has in bf16. A parameter that is trained
takes 20 bytes (weight, gradient, its bucket, both moments of AdamW), a frozen one 4. Not in it are
preparing the data, and what CUDA and its allocator need for themselves, some GiB. The numbers stand
in the files of the experiments (`cost`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from tqdm import tqdm

from captionseg.experiments import RecipeCost, read_experiment
from captionseg.model_inputs import Batch, MaskedCaptions, NamedSegments, Tokens
from captionseg.modeling.segmenter import InputSpec
from perf.paper_models import Built, Plan, build_full_size, list_plans

FOLDER = Path(__file__).parents[1] / "experiments" / "paper"
OPERATIONS = 100e12
"""Operations of a GPU in a second, assumed."""

TRAINED, FROZEN = 20, 4
"""Bytes of a parameter."""

SENTENCE, PROMPT, SEGMENTS, REGIONS = 77, 16, 11, 28
"""Tokens of captions and of prompts alone, segments of a picture (USE's mean), and its regions
(those of the default run)."""

END = 49407
"""CLIP's token at the end of a text."""


def count_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Return the operations of an attention of three shapes."""
    return sdpa_flop_count(query, key, value)


def count_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Return the operations of the backward pass of an attention of three shapes."""
    return sdpa_backward_flop_count(gradient, query, key, value)


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: count_attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: count_backward,
}
"""Operations that torch's counter does not know: the attention of a CPU."""

HALVED = 0.7
"""Bytes that are kept in bf16, as a share of those in fp32: 46.2 of 66.2 GiB of OVSegmentor."""


def make_batch(config: Any, images: int, texts: int, width: int) -> Batch:
    """Make a batch as a model of a config reads it: noise, and concepts that all differ."""
    reads: InputSpec = config.reads
    regions = (images, REGIONS, config.region_width) if reads.regions else (images, 0, 1)

    def words(*size: int) -> Tensor:
        found = torch.randint(1, 1000, size)
        found[..., -1] = 1000 if reads.tokens == "bert" else END
        return found

    concepts = torch.arange(images * texts).view(images, texts)
    captions = words(images, SENTENCE)
    tokens = Tokens(
        captions,
        words(images, texts, PROMPT),
        words(images, texts, PROMPT) if reads.tokens == "frozen" else None,
        torch.full_like(captions, -1) if reads.words else None,
    )
    target = torch.where(torch.arange(SENTENCE) < texts, concepts.repeat(1, SENTENCE)[:, :77], -1)
    named = torch.arange(images * SEGMENTS).view(images, SEGMENTS)
    return Batch(
        torch.randn(regions),
        torch.ones(regions[:2], dtype=torch.bool),
        torch.randn(images, width),
        concepts,
        torch.randn(images, texts, width),
        concepts,
        concepts,
        image=torch.randn(images, 3, reads.picture, reads.picture),
        tokens=tokens if reads.tokens else None,
        masked=MaskedCaptions(target, tokens=captions, answers=words(images, PROMPT))
        if reads.masking
        else None,
        segments=NamedSegments(
            torch.rand(images, SEGMENTS, reads.cells, reads.cells),
            torch.randn(images, SEGMENTS, width),
            named,
            named[..., None],
        )
        if reads.segments
        else None,
    )


def repeat_ranks(tensor: Tensor, world: int) -> Tensor:
    """Stand in for a gather over ranks: the others have the same, but other concepts."""
    several = tensor.repeat(world, *[1] * (tensor.ndim - 1))
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        return several
    rank = torch.arange(world).repeat_interleave(len(tensor)).view(-1, *[1] * (tensor.ndim - 1))
    return torch.where(several >= 0, several + 1_000_000 * rank, several)


def measure_step(built: Built, plan: Plan, images: int) -> tuple[int, int]:
    """Run one training step without its update.

    Args:
        built: the model.
        plan: how it is trained.
        images: number of pictures.

    Returns:
        its operations, and the bytes of tensors that are kept for the backward pass.
    """
    model, kept = built.model.train(), {}
    if hasattr(model, "steps"):
        model.steps.fill_(2**40)  # the last stage of OVSegmentor, with L_mask
    inside = {w.data_ptr() for part in (model, *built.frozen) for w in part.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in inside:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    width = getattr(model.config, "text_width", 0) or 512
    batch = make_batch(model.config, images, plan.params.texts, width)
    world = max(1, plan.params.batch // images)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            losses = model.losses(model(batch), lambda tensor: repeat_ranks(tensor, world))
        torch.stack(list(losses.values())).sum().backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops(), sum(kept.values())


def compute_cost(built: Built, plan: Plan) -> RecipeCost:
    """Compute what training a recipe takes."""
    trained, frozen = built.count()
    (two, kept_two), (three, kept_three) = (measure_step(built, plan, n) for n in (2, 3))
    images = plan.params.batch // plan.gpus
    gpu_step = two + (images - 2) * (three - two)
    kept = kept_two + (images - 2) * (kept_three - kept_two)
    kept *= 1.0 if (plan.params.precision or plan.runtime.precision) == "fp32" else HALVED
    steps = plan.params.epochs * (plan.pairs // plan.params.batch)
    return RecipeCost(
        trained=shorten(trained / 1e6),
        frozen=shorten(frozen / 1e6),
        gflop=shorten(gpu_step / images / 1e9),
        gib=shorten((TRAINED * trained + FROZEN * frozen + kept) / 2**30),
        hours=shorten(steps * gpu_step * plan.gpus / OPERATIONS / 3600),
    )


def shorten(number: float) -> float:
    """Round to one decimal, or to three digits if there is nothing before the point."""
    return round(number, 1) if number >= 1 else float(f"{number:.3g}")


def compute_all(names: list[str]) -> Iterator[tuple[str, str, Plan, RecipeCost]]:
    """Yield (experiment, recipe, plan, cost) of the experiments of these names, or of all."""
    for path in tqdm(sorted(FOLDER.glob("*.yaml")), desc="experiments"):
        if names and path.stem not in names:
            continue
        for name, plan in list_plans(read_experiment(path)).items():
            torch.manual_seed(0)
            yield path.stem, name, plan, compute_cost(build_full_size(plan), plan)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.paper_costs", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="file in experiments/paper")
    rows = list(compute_all(parser.parse_args().names))
    print(f"{'':34} GPUs  images a GPU  trained M  frozen M  GFLOP  GiB a GPU   hours of GPUs")
    for experiment, name, plan, cost in rows:
        print(
            f"{experiment + '/' + name:34} {plan.gpus:4}  {plan.params.batch // plan.gpus:12}  "
            f"{cost.trained:9}  {cost.frozen:8}  {cost.gflop:5}  {cost.gib:9}  {cost.hours:10}"
        )


if __name__ == "__main__":
    main()
