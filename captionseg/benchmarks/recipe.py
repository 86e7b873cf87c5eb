"""Score a recipe: all its seeds on a benchmark."""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from captionseg.benchmarks import EvaluateParams
from captionseg.benchmarks.benchmark import Folders
from captionseg.benchmarks.evaluate import AREAS, Predict, count, per_class, scores
from captionseg.benchmarks.held_out import HeldOut
from captionseg.benchmarks.mask_precision import Detect, MaskScores
from captionseg.benchmarks.segment_retrieval import Retrieval
from captionseg.encoders import Encoder, load_encoder
from captionseg.inference.detections import Detections, detected
from captionseg.inference.protocols import PROTOCOLS, applied
from captionseg.inference.segment_index import SegmentModel
from captionseg.inference.windows import Protocol, label, mask_logits
from captionseg.inference.words import class_vectors, prompt_name
from captionseg.modeling import CONCEPTS, saved
from captionseg.modeling.segmenter import Reads
from captionseg.records import Inputs, UserError
from captionseg.runtime import detect
from captionseg.segmenters import MaskMaker, MasksParams

log = logging.getLogger(__name__)


class Evaluated(NamedTuple):
    """What became of a recipe.

    Attributes:
        result: {"scores", "per_class", "seeds": {N: mIoU}, "protocol": {"prompts", "refine"}, with a paper's protocol
            also {"name", "source", "skipped"}}. Of models that read segments also what `MaskScores` and `Retrieval`
            add; with `EvaluateParams.also` the same by each of its protocols, in "also".
        areas: [n, seeds, 3, C].
        uids: [n] of the pictures.
        seeds: that the models were trained with.
        images_per_second: by its own protocol.
    """

    result: dict[str, Any]
    areas: np.ndarray
    uids: list[str]
    seeds: list[int]
    images_per_second: float


def evaluate(model: Path, folders: Folders, params: EvaluateParams, *, seed: int, recipe: str = "") -> Evaluated:
    """Score every seed of models/RECIPE; `recipe` is its name in params.yaml.

    Nothing is scored, and all is empty, where no mask of the split is known: data of one's own rarely have any.
    """
    benchmark, seeds = HeldOut.load(folders, params.split), seeds_of(model)
    if not len(benchmark):
        log.warning("%s holds no masks of split %r: nothing is scored", folders.truth, params.split)
        return Evaluated({"scores": {}, "per_class": {}, "seeds": {}}, np.zeros((0, len(seeds), 3, 0), np.int64), [],
                         list(seeds), 0.0)  # fmt: skip
    frozen = functools.cache(lambda: load_encoder(folders.prepared.encoder))
    start = time.perf_counter()
    result, counts = by_protocol(model, folders, benchmark, params, params.asked, frozen, seed=seed)
    speed = len(seeds) * len(benchmark) / (time.perf_counter() - start)
    others = {name: by_protocol(model, folders, benchmark, params, asked, frozen, seed=seed)[0]
              for name, asked in params.others(recipe).items()}  # fmt: skip
    areas = np.stack(counts, axis=1)[:, :, :AREAS]
    return Evaluated(result | ({"also": others} if others else {}), areas, benchmark.known.uid, list(seeds), speed)


def seeds_of(model: Path) -> dict[int, Path]:
    """seed -> folder of each of a recipe's models, lowest first.

    Raises:
        UserError: if there is none.
    """
    found = {int(p.name): p for p in (model / "seeds").glob("*") if p.name.isdecimal()}
    if not found:
        raise UserError(f"{model}: no trained seed; run `dvc repro pretrain`")
    return dict(sorted(found.items()))


def by_protocol(model: Path, folders: Folders, benchmark: HeldOut, params: EvaluateParams, protocol: Protocol,
                frozen: Callable[[], Encoder], *, seed: int) -> tuple[dict[str, Any], list[np.ndarray]]:  # fmt: skip
    """Score every seed of a recipe by one protocol.

    Returns:
        the result, see Evaluated, and `count` of each seed.
    """
    seeds, device, counts = seeds_of(model), detect(params.device).device, []
    masks, found = MaskScores(benchmark, params.max_detections), Retrieval(benchmark, folders)
    for folder in seeds.values():
        loaded = load(folder, benchmark.names, frozen, protocol, device)
        pictures = benchmark.of(loaded.reads, loaded.refine, loaded.masks)
        with threads(1 if loaded.reads.regions else torch.get_num_threads()):
            counts.append(count(pictures, loaded.predict, masks.seed(loaded.detect)))
        found.seed(loaded.embeds)
    groups = {kind: np.array(benchmark.kinds) == kind for kind in dict.fromkeys(benchmark.kinds)}
    groups |= seen_and_unseen(model, benchmark.names)
    result = {
        "scores": scores(counts, samples=params.bootstrap, seed=seed, groups=groups),
        "per_class": per_class(counts, benchmark.names),
        "seeds": {str(number): scores([one], samples=1, seed=seed)["miou"]
                  for number, one in zip(seeds, counts, strict=True)},
        "protocol": {"prompts": loaded.prompts, "refine": loaded.refine, **loaded.said},
    }
    masks.add_to(result, loaded.segments)
    found.add_to(result)
    return result, counts


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """So many threads of torch on the CPU. Products of a few regions are too small for more than one: they only wait
    for one another, and where something else runs on the cores, long."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seen_and_unseen(model: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Classes that the texts of training named, and those that they did not (OVSegmentor, Table 7); [C] bool each.

    Nothing where all classes are of one kind.
    """
    path = model / CONCEPTS
    known = set(path.read_text().splitlines()) if path.exists() else set()
    seen = np.array([name.lower() in known for name in names])
    return {"seen": seen, "unseen": ~seen} if seen.any() and not seen.all() else {}


class Loaded(NamedTuple):
    """A saved model ready to label.

    Attributes:
        reads: of the model.
        prompts: template set of the classes' names.
        refine: how mask logits are refined.
        predict: inputs of one image -> labels [H, W].
        logits: inputs of one image -> mask logits [C or more, H, W] float32; classes are the last C.
        segments: what is given classes; None for a model that reads no segments, likewise the two below.
        masks: makes them, where they are not the regions.
        detect: inputs of one image and which classes are wanted [C] -> what is found of them.
        embeds: it again, as what embeds segments and texts.
        said: what a paper's protocol adds to that of the result.
    """

    reads: Reads
    prompts: str
    refine: str
    predict: Predict
    logits: Callable[[Inputs], np.ndarray]
    segments: MasksParams | None = None
    masks: MaskMaker | None = None
    detect: Detect | None = None
    embeds: SegmentModel | None = None
    said: Mapping[str, Any] = MappingProxyType({})


def load(folder: Path, names: Sequence[str], frozen: Callable[[], Encoder], protocol: Protocol,
         device: str) -> Loaded:  # fmt: skip
    """The model of a folder, ready to label.

    Args:
        folder: that holds it.
        names: [C] of the classes.
        frozen: gives the frozen encoder of texts.
        protocol: how pictures are labelled; `masks` mean nothing to a model that reads no segments.
        device: that the model runs on.
    """
    found = saved.load(folder)
    model = found.model.to(device)
    settled = protocol.of(found.context)
    prompts, said = found.context["prompts"], {}
    if protocol.name:
        prompts, skipped = applied(model, protocol.name, prompts, background="background" in names)
        said = {"name": protocol.name, "source": PROTOCOLS[protocol.name].source, "skipped": skipped}
    classes = class_vectors(model, folder, frozen, names, prompts)

    def predict(inputs: Inputs) -> np.ndarray:
        with torch.inference_mode():
            return label(model, inputs.map(lambda tensor: tensor.to(device)), classes, settled).cpu().numpy()

    def logits(inputs: Inputs) -> np.ndarray:
        with torch.inference_mode():
            moved = inputs.map(lambda tensor: tensor.to(device))
            return mask_logits(model, moved, classes, settled).float().cpu().numpy()

    def find(inputs: Inputs, wanted: np.ndarray) -> Detections:
        with torch.inference_mode():
            moved = inputs.map(lambda tensor: tensor.to(device))
            return detected(model, moved, classes, torch.from_numpy(wanted).to(device))

    loaded = Loaded(model.config.reads, prompt_name(model, prompts), settled.refine.method, predict, logits, said=said)
    if not hasattr(model, "mask_scores"):
        return loaded
    return loaded._replace(segments=settled.masks, masks=settled.masks.build(), detect=find,
                           embeds=SegmentModel(model, folder, frozen, device))  # fmt: skip
