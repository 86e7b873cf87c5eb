"""Sliding windows of a model that reads pixels: in batches against one at a time, on the same
pictures.

    python -m perf.evaluate [--batch 16] [--classes 21] [--side 224] [--pictures 4] \
        [--rounds 5] [--device cpu]

The model is the preset `groupvit_tiny` with random weights and the published inference (top 5,
product of softmaxes), its windows are of the side that it is trained with and overlap by half, as
the published ones do. Both forms do all that evaluation does with a picture: resize, windows, mean
over windows, labels at the size of the picture. They take turns, picture by picture, so that a
machine that slows down slows both. Labels have to be the same to the last pixel.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from captionseg.inference.pixels import label_pixels
from captionseg.inference.windows import ResolvedProtocol, WindowParams, list_starts
from captionseg.modeling.groupvit import GroupViT, groupvit_tiny
from captionseg.modeling.readout.zero_shot import ZeroShot
from captionseg.prepared import pixel_inputs
from captionseg.runtime.device import Runtime, detect


def build_model(device: str) -> GroupViT:
    """groupvit_tiny with random weights, so large that pixels and groups differ, and a
    background."""
    torch.manual_seed(0)
    config = replace(
        groupvit_tiny(), zero_shot=ZeroShot("groups", "product", top_k=5, background=0.1)
    )
    net = GroupViT(config).eval()
    with torch.no_grad():
        for weight in net.towers.vision.parameters():
            weight.mul_(6.0 if weight.ndim > 1 else 1.0)
        net.caption_scale.fill_(math.log(30.0))
    return net.to(device)


def draw_pictures(count: int, side: int, device: str) -> list[Tensor]:
    """Random pictures [1, 3, side, 4/3 side] with smooth parts."""
    shapes = torch.rand(count, 3, 9, 12)
    return list(F.interpolate(shapes, (side, side * 4 // 3), mode="bicubic").to(device).split(1))


def time_picture(
    net: GroupViT, image: Tensor, classes: Tensor, protocol: ResolvedProtocol, runtime: Runtime
) -> tuple[float, Tensor]:
    """Seconds of one picture, and its labels."""
    runtime.synchronize()
    start = time.perf_counter()
    found = label_pixels(
        net, pixel_inputs(image, (image.shape[2], image.shape[3])), classes, protocol
    )
    runtime.synchronize()
    return time.perf_counter() - start, found


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m perf.evaluate", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=21)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    runtime = detect(arguments.device)
    net = build_model(runtime.device)
    crop, side = net.config.reads.picture, arguments.side
    classes = F.normalize(torch.randn(arguments.classes, net.config.towers.embedding), dim=1).to(
        runtime.device
    )
    windows = {
        "batched": WindowParams(side, crop, crop // 2, arguments.batch),
        "one by one": WindowParams(side, crop, crop // 2, 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in windows}
    different, seen = 0, set()
    with torch.inference_mode():
        for number in range(arguments.rounds + 1):
            for image in draw_pictures(arguments.pictures, side, runtime.device):
                both = {
                    name: time_picture(net, image, classes, ResolvedProtocol(w), runtime)
                    for name, w in windows.items()
                }
                different += int((both["batched"][1] != both["one by one"][1]).sum())
                seen.update(both["batched"][1].unique().tolist())
                for name, (spent, _) in both.items():
                    seconds[name] += [spent] if number else []  # the first round warms up
    each = len(list_starts(side, crop, crop // 2)) * len(
        list_starts(side * 4 // 3, crop, crop // 2)
    )
    assert len(seen) > 2, "random weights label everything alike: nothing is compared"
    print(
        f"{each} windows a picture, {arguments.classes} classes, {runtime.device}, "
        f"{torch.get_num_threads()} threads; {different} pixels differ"
    )
    if different:
        raise SystemExit("labels depend on the batch")
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        print(f"{name:12} {value:7.3f} s a picture  {1 / value:6.1f} images/s")
    print(f"ratio {median['one by one'] / median['batched']:.2f}")


if __name__ == "__main__":
    main()
