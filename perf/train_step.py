"""One training step of GroupViT: ours against transformers' module, with the same weights, loss and
batch.

    python -m perf.train_step [--batch 8] [--steps 5] [--device cpu] [--precision fp32]

Both do the forward pass of pictures and of four texts a picture, the caption loss of CLIP, and the
backward pass; the text encoders see the same tokens, 13 a text without padding, as in captions of
ten words. Rounds take turns, so that a machine that slows down slows both; the ratio is that of the
medians.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm
from transformers import GroupViTConfig, GroupViTModel
from transformers.utils import logging

from captionseg.modeling.groupvit import GroupViT, groupvit_small
from captionseg.modeling.weights.groupvit_checkpoint import to_transformers, to_transformers_config
from captionseg.runtime.device import Runtime, detect

TEXTS = 4  # the caption and three prompts
TOKENS = 13  # of a text


def clip_loss(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE both ways between pictures [B, W] and their captions, every fourth of [4 B, W]."""
    logits = (
        scale.exp().clamp(max=100.0)
        * F.normalize(image, dim=-1)
        @ F.normalize(text, dim=-1)[::TEXTS].T
    )
    target = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))


def our_loss(model: GroupViT, image: Tensor, tokens: Tensor) -> Tensor:
    """Of our module."""
    groups = model.towers.vision(image).groups.mean(1)
    return clip_loss(
        model.towers.image_projector(groups), model.encode_text(tokens), model.caption_scale
    )


def their_loss(model: Any, image: Tensor, tokens: Tensor) -> Tensor:
    """Of transformers' module."""
    pooled = model.vision_model(pixel_values=image).pooler_output
    text = model.text_model(input_ids=tokens).pooler_output
    return clip_loss(
        model.visual_projection(pooled), model.text_projection(text), model.logit_scale
    )


def time_step(loss: Callable[[], Tensor], model: nn.Module, runtime: Runtime) -> float:
    """Seconds of one step without its update."""
    runtime.synchronize()
    start = time.perf_counter()
    model.zero_grad(set_to_none=True)
    with runtime.autocast():
        total = loss()
    total.backward()
    runtime.synchronize()
    return time.perf_counter() - start


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perf.train_step", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="fp32")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    logging.set_verbosity_error()
    runtime = detect(arguments.device, arguments.precision)
    torch.manual_seed(0)
    ours = GroupViT(groupvit_small())
    theirs = GroupViTModel(GroupViTConfig(**to_transformers_config(ours.config)))
    theirs.load_state_dict(to_transformers(ours.state_dict()), strict=False)
    models: dict[str, Any] = {
        "captionseg": ours.to(runtime.device).train(),
        "transformers": theirs.train(),
    }
    models["transformers"].to(runtime.device)
    image = torch.randn(arguments.batch, 3, 224, 224, device=runtime.device)
    tokens = torch.randint(1, 49_000, (TEXTS * arguments.batch, TOKENS), device=runtime.device)
    tokens[:, -1] = 49_407
    losses = {
        "captionseg": lambda: our_loss(models["captionseg"], image, tokens),
        "transformers": lambda: their_loss(models["transformers"], image, tokens),
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for step in tqdm(range(arguments.steps + 1), desc="rounds"):
        for name, model in models.items():
            spent = time_step(losses[name], model, runtime)
            if step:  # the first round warms up
                seconds[name].append(spent)
    print(
        f"\n{runtime.device}, {runtime.precision}, {torch.get_num_threads()} threads, batch "
        f"{arguments.batch}"
    )
    for name, values in seconds.items():
        median = statistics.median(values)
        print(
            f"{name:14} {median:8.3f} s a step  {arguments.batch / median:8.1f} images/s  "
            f"({min(values):.3f} to {max(values):.3f})"
        )
    theirs, ours = (statistics.median(seconds[name]) for name in ("transformers", "captionseg"))
    print(f"ratio {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
