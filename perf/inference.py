"""Labelling of one picture by words, as `captionseg segment` does it, against the same steps
written plainly; and the start of that command.

    python -m perf.inference [--rounds 5] [--height 1500 --width 2000] [--device cpu]

The model is a segment_mil of random weights on the default encoder. The plain form calls encoder,
region maker, text tower and argmax directly, and draws with numpy and Pillow. It comes twice: with
texts embedded for each picture, and with the text embeddings of the first call kept. The latter is
the reference of the ratio, which is that of the sums over 20 and 200 labels of a second call and of
the pictures written from it. Labels have to be the same.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from tqdm import tqdm

from captionseg.api.model import Model
from captionseg.api.pictures import read
from captionseg.api.result_files import Files, write_files
from captionseg.api.segmentation import Segmentation
from captionseg.encoders.text_space import TextSpace
from captionseg.inference.predictor import Predictor
from captionseg.modeling.segment_mil import SegmentMil, SegmentMilConfig
from captionseg.modeling.weights import saved
from captionseg.remarks import group_warnings
from captionseg.reporting.overlay import IGNORED, add_legend, find_boundaries, make_palette
from captionseg.segmenters.felzenszwalb import Felzenszwalb
from captionseg.segmenters.pooling import pool_regions
from perf.clock import measure_once

PARAMS = {"batch": 32, "size": 224}
REGION_WIDTH, TEXT_WIDTH = 1399, 384  # with the default encoder
COUNTS = (20, 200)


def save_model(folder: Path) -> None:
    """Write a model of random weights with its encoder."""
    torch.manual_seed(0)
    context = {"regions": {"maker": "felzenszwalb", "felzenszwalb": {}}, "prompts": "simple"}
    model = SegmentMil(SegmentMilConfig(region_width=REGION_WIDTH, text_width=TEXT_WIDTH))
    saved.save(folder, "segment_mil", model, context)
    space = TextSpace(None, None, None)  # type: ignore[arg-type]
    space.save(folder / "encoder", encoder="lite0_minilm", params=dict(PARAMS), precision="auto")


def draw_picture(height: int, width: int) -> np.ndarray:
    """A picture of smooth parts."""
    shapes = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    image = F.interpolate(shapes, (height, width), mode="bicubic")[0].clamp(0, 1)
    return (255 * image).byte().permute(1, 2, 0).contiguous().numpy()


class Plain:
    """The reference.

    Args:
        predictor: whose model and encoder it calls.
        keeps: whether it keeps embeddings of texts.
    """

    def __init__(self, predictor: Predictor, *, keeps: bool) -> None:
        self.model: Any = predictor.model
        self.encoder = predictor.labeller.loaded.frozen()
        self.maker, self.keeps = Felzenszwalb(), keeps
        self.kept: dict[tuple[str, ...], torch.Tensor] = {}

    def embed(self, labels: Sequence[str]) -> torch.Tensor:
        """Embed labels in the model's space."""
        texts = self.encoder.text([f"a photo of a {label}." for label in labels])
        device = next(self.model.parameters()).device
        return self.model.embed_texts(torch.from_numpy(texts).to(device))

    def segment(self, image: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Label the pixels of a picture, [H, W]."""
        with torch.inference_mode():
            dense = self.encoder.features([image]).dense[0].astype(np.float16)
            regions = self.maker.regions(image)
            pooled = pool_regions(dense, regions, int(regions.max()) + 1).astype(np.float16)
            classes = self.kept.get(tuple(labels))
            if classes is None:
                classes = self.embed(labels)
                if self.keeps:
                    self.kept[tuple(labels)] = classes
            rows = torch.from_numpy(pooled.astype(np.float32)).to(classes.device)
            best = (self.model.embed_regions(rows[None])[0] @ classes.T).argmax(1).cpu()
            number = torch.from_numpy(regions.astype(np.float32))[None, None]
            number = F.interpolate(number, image.shape[:2], mode="nearest-exact")[0, 0].long()
            return best[number].numpy()


def write_plainly(image: np.ndarray, mask: np.ndarray, labels: Sequence[str], out: Path) -> None:
    """Write the overlay, with Pillow's defaults."""
    colours = make_palette(len(labels))
    known = (mask != IGNORED)[..., None]
    blend = np.where(known, 0.45 * image + 0.55 * colours[np.where(known[..., 0], mask, 0)], image)
    line = find_boundaries(mask, width=max(1, round(min(mask.shape) / 400)))
    blend[line] += 0.75 * (255 - blend[line])
    Image.fromarray(add_legend(np.round(blend).astype(np.uint8), labels, colours)).save(out)


def measure(
    predictor: Predictor, image: np.ndarray, labels: Sequence[str], *, rounds: int, out: Path
) -> dict[str, float]:
    """Seconds of each form, the medians of calls that take turns; of a first call, one."""
    anew, kept = Plain(predictor, keeps=False), Plain(predictor, keeps=True)
    seconds = {"first": measure_once(lambda: predictor.segment(image, labels))}
    mask = predictor.segment(image, labels).astype(np.uint8)
    assert np.array_equal(kept.segment(image, labels), mask)
    empty = np.zeros(len(labels), np.float32)
    result = Segmentation(tuple(labels), mask.astype(np.int16), empty, image)
    forms: dict[str, Callable[[], object]] = {
        "second": lambda: predictor.segment(image, labels),
        "plain": lambda: anew.segment(image, labels),
        "plain, kept": lambda: kept.segment(image, labels),
        "pictures": lambda: write_files(result, Files(out)),
        "plain pictures": lambda: write_plainly(image, mask, labels, out),
    }
    spent: dict[str, list[float]] = {name: [] for name in forms}
    for _ in tqdm(range(rounds), desc=f"{len(labels)} labels"):
        for name, form in forms.items():
            spent[name].append(measure_once(form))
    return seconds | {name: statistics.median(values) for name, values in spent.items()}


def time_further(predictor: Predictor, folder: Path, rounds: int) -> dict[str, str]:
    """Seconds of a picture after the first of one call, by its size: read, labelled by three
    words, and its overlay written; by the clock, and of the processor, which counts on a machine
    that others use too.
    """
    model, spent = Model(folder, predictor), {}
    words = model.choose_words(["sky", "grass", "zebra"])
    for size in ((480, 640), (1500, 2000)):
        file, out = folder / "further.jpg", Files(folder / "further.png")
        Image.fromarray(draw_picture(*size)).save(file, quality=92)

        def run(file: Path = file, out: Files = out) -> None:
            pixels = read(file)
            write_files(model.segment_pixels(pixels.image, words), out)

        run()
        before = time.process_time()
        seconds = [measure_once(run) for _ in range(rounds)]
        used = (time.process_time() - before) / rounds
        spent[f"{size[1]} x {size[0]}"] = (
            f"{statistics.median(seconds):.3f} s, of the processor {used:.3f} s"
        )
    return spent


def time_command(model: Path, folder: Path) -> float:
    """Seconds of `captionseg segment` on a picture of 224 x 224, with its start."""
    Image.fromarray(draw_picture(224, 224)).save(folder / "small.png")
    words = ["segment", str(folder / "small.png"), "--labels", "sky, grass, zebra"]
    words += ["--model", str(model), "--device", "cpu"]
    command = [sys.executable, "-m", "captionseg", *words]
    return measure_once(lambda: subprocess.run(command, check=True, capture_output=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.inference", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--height", type=int, default=1500)
    parser.add_argument("--width", type=int, default=2000)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    image, total = (
        draw_picture(arguments.height, arguments.width),
        dict.fromkeys(("our", "their"), 0.0),
    )
    with tempfile.TemporaryDirectory() as work, group_warnings():
        model = Path(work) / "model"
        save_model(model)
        predictor = Predictor.load(model, device=arguments.device)
        predictor.segment(image[:64, :64], ["a word"])  # whatever is loaded with the first call
        print(f"{arguments.width} x {arguments.height}, {torch.get_num_threads()} threads")
        for count in COUNTS:
            labels = [f"thing {number}" for number in range(count)]
            found = measure(
                predictor, image, labels, rounds=arguments.rounds, out=Path(work) / "out.png"
            )
            print(f"{count} labels: " + ", ".join(f"{k} {s:.3f} s" for k, s in found.items()))
            total["our"] += found["second"] + found["pictures"]
            total["their"] += found["plain, kept"] + found["plain pictures"]
        further = time_further(predictor, Path(work), arguments.rounds)
        print("a further picture: " + "; ".join(f"{k} {s}" for k, s in further.items()))
        cold = min(time_command(model, Path(work)) for _ in range(3))
        print(f"captionseg segment, cold: {cold:.2f} s")
    print(f"ratio {total['their'] / total['our']:.2f}")


if __name__ == "__main__":
    main()
