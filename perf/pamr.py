"""Pixel-adaptive mask refinement: ours against shifted slices and against the dense form, on the
same picture and masks.

    python -m perf.pamr [--classes 171] [--side 112] [--rounds 3] [--device cpu]

The reference is what one would write in torch: neighbours are slices of padded masks, multiplied
and added in place, for as many masks at once as are fastest on a core with 2 MB of cache (32; all
171 at once take twice as long). The dense form is that of the published code: neighbours are taken
by a dilated convolution with one-hot kernels, of the picture and, in each of the ten iterations, of
all masks, and their weighted sum is over a tensor of masks and neighbours. Peak memory is what a
fresh process grows by while it runs the form.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from captionseg.inference.pamr import DILATIONS, STEPS, pamr
from captionseg.runtime.device import detect
from perf.clock import compare


def slices(image: Tensor, masks: Tensor) -> Tensor:
    """The reference: [C, H, W] of picture [3, H, W] and masks [C, H, W]."""
    around = torch.stack(list(shift(image)))  # [48, 3, H, W]
    everything = torch.cat([around, image.expand(len(DILATIONS), -1, -1, -1)])
    scale = 1e-8 + 0.1 * everything.std(0)
    weights = (-(around - image).abs() / scale).mean(1).softmax(0)
    parts = list(masks.split(TOGETHER))
    for number, part in enumerate(parts):
        for _ in range(10):
            total = torch.zeros_like(part)
            for weight, neighbour in zip(weights, shift(part), strict=True):
                total.addcmul_(neighbour, weight)
            part = total
        parts[number] = part
    return torch.cat(parts)


def shift(maps: Tensor) -> Iterator[Tensor]:
    """The 48 neighbours of maps [C, H, W], as slices."""
    (height, width), margin = maps.shape[1:], max(DILATIONS)
    wide = F.pad(maps[None], (margin,) * 4, mode="replicate")[0]
    for d in DILATIONS:
        for dy, dx in STEPS:
            top, left = margin + d * dy, margin + d * dx
            yield wide[:, top : top + height, left : left + width]


def dense(image: Tensor, masks: Tensor) -> Tensor:
    """The published form: [C, H, W] of picture [3, H, W] and masks [C, H, W]."""
    around = take_neighbours(image[:, None])  # [3, 48, H, W]
    everything = torch.cat([around, image[:, None].expand(-1, len(DILATIONS), -1, -1)], 1)
    scale = 1e-8 + 0.1 * everything.std(1, keepdim=True)
    weights = (-(around - image[:, None]).abs() / scale).mean(0).softmax(0)
    for _ in range(10):
        masks = (take_neighbours(masks[:, None]) * weights).sum(1)
    return masks


def take_neighbours(maps: Tensor) -> Tensor:
    """[C, 48, H, W] neighbours of maps [C, 1, H, W]."""
    kernel = torch.zeros(8, 1, 3, 3, device=maps.device)
    for number, (dy, dx) in enumerate(STEPS):
        kernel[number, 0, dy + 1, dx + 1] = 1.0
    return torch.cat(
        [F.conv2d(F.pad(maps, (d,) * 4, mode="replicate"), kernel, dilation=d) for d in DILATIONS],
        1,
    )


TOGETHER = 32
FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "captionseg": pamr,
    "slices": slices,
    "dense": dense,
}


def draw_inputs(classes: int, side: int, device: str) -> tuple[Tensor, Tensor]:
    """A random picture with smooth parts, and masks."""
    torch.manual_seed(0)
    image = F.interpolate(torch.rand(1, 3, 14, 14), (side, side), mode="bicubic")[0]
    masks = F.interpolate(torch.rand(1, classes, 28, 28), (side, side), mode="bilinear")[0]
    return image.to(device), masks.to(device)


def measure_growth(name: str, classes: int, side: int, answer: multiprocessing.Queue) -> None:
    """MiB that this process grows by at most while it runs a form on the CPU; Linux knows it."""
    image, masks = draw_inputs(classes, side, "cpu")
    # whatever is loaded with the first call
    pamr(image[:, :32, :32].contiguous(), masks[:2, :32, :32].contiguous())
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = read_status("VmRSS")
    FORMS[name](image, masks)
    answer.put((read_status("VmHWM") - before) / 1024)


def read_status(key: str) -> int:
    """A number of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def measure_memory(name: str, classes: int, side: int) -> float:
    """`measure_growth`, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=measure_growth, args=(name, classes, side, answer))
    process.start()
    found = answer.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.pamr", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--classes", type=int, default=171)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    runtime = detect(arguments.device)
    image, masks = draw_inputs(arguments.classes, arguments.side, runtime.device)
    forms = {name: functools.partial(form, image, masks) for name, form in FORMS.items()}
    median, results = compare(forms, arguments.rounds, runtime)
    used = {name: measure_memory(name, arguments.classes, arguments.side) for name in FORMS}
    apart = max((results[name] - results["captionseg"]).abs().max() for name in FORMS)
    print(
        f"{arguments.classes} masks of {arguments.side} x {arguments.side}, {arguments.device}, "
        f"{torch.get_num_threads()} threads; largest difference "
        f"{apart:.1e}"
    )
    for name in FORMS:
        print(f"{name:12} {median[name]:7.3f} s  {used[name]:7.0f} MiB")
    print(f"dense {median['dense'] / median['captionseg']:.1f}")
    print(f"ratio {median['slices'] / median['captionseg']:.2f}")


if __name__ == "__main__":
    main()
