"""Exports a saved model as ONNX, and checks that it labels pictures as the model does."""

from __future__ import annotations

import functools
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captionseg import __version__
from captionseg.encoders.text_space import load_encoder
from captionseg.grids import MEAN, STD
from captionseg.inference.labelling import Labeller
from captionseg.inference.loaded import LoadedModel
from captionseg.inference.model_encoder import find_encoder
from captionseg.inference.onnx_check import INSTALL, check, list_pictures, write_labels
from captionseg.inference.onnx_graph import RegionGraph, WindowGraph
from captionseg.inference.predictor import Predictor
from captionseg.inference.protocols import ScoringOptions
from captionseg.inference.refine import RefineParams
from captionseg.inference.windows import Protocol
from captionseg.records import UserError
from captionseg.storage.writing import atomic_path


@dataclass(frozen=True)
class Plan:
    """What is exported of a model.

    Attributes:
        graph: what becomes the ONNX graph.
        inputs: input name -> example.
        least: smallest number of classes.
        about: metadata: what inputs and outputs mean.
    """

    graph: nn.Module
    inputs: Mapping[str, Tensor]
    least: int
    about: Mapping[str, str]


def load_plain(folder: Path) -> Predictor:
    """Load a model as ONNX has it: in fp32, without refinement of its masks."""
    encoder = functools.cache(
        lambda: load_encoder(find_encoder(folder), device="cpu", precision="fp32")
    )
    loaded = LoadedModel.load(folder, device="cpu", frozen=encoder)
    protocol = Protocol(refine=RefineParams("none"))
    labeller = Labeller.of(loaded, ScoringOptions(protocol, device="cpu"))
    return Predictor(labeller, labeller.preparation())


def export_onnx(
    model: Path, target: Path, *, labels: Sequence[str] = (), pictures: Sequence[Path] = ()
) -> list[str]:
    """Write a model as an ONNX file whose metadata say what its inputs and outputs are.

    Args:
        model: folder of the model.
        target: file to write; it is there only if the check passes.
        labels: labels whose embeddings are written next to it.
        pictures: files and folders of pictures to check it on, see `check`.

    Returns:
        lines for people: what was written, and what the check found.

    Raises:
        UserError: for a model that cannot be exported, without the packages of the extra `export`,
            and if the check fails.
    """
    files, predictor = list_pictures(pictures), load_plain(model)
    plan = plan_export(predictor)
    with atomic_path(target) as part:
        write_graph(plan, part)
        checked = check(part, predictor, files, labels, least=plan.least)
    said = [f"{target}: {plan.about['kind']}; classes: {plan.about['input.classes']}"]
    if labels:
        said.append(write_labels(predictor, labels, target.with_suffix(".labels.npz")))
    return [*said, checked]


def write_graph(plan: Plan, path: Path) -> None:
    """Write what is planned as an ONNX file.

    Raises:
        UserError: without the packages of the extra `export`.
    """
    try:
        import onnx  # noqa: F401 - torch needs both
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name} is not installed: {INSTALL}") from None
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    classes = torch.export.Dim("classes", min=plan.least, max=1 << 16)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        plan.graph.eval()(*plan.inputs.values())  # loads the encoder, which tracing cannot
        program = torch.onnx.export(
            plan.graph,
            tuple(plan.inputs.values()),
            dynamo=True,
            input_names=[*plan.inputs],
            output_names=["scores"],
            dynamic_shapes=tuple({0: classes} if n == "classes" else None for n in plan.inputs),
            verbose=False,
        )
        assert program is not None
        program.model.metadata_props.update(plan.about)
        program.save(path)


def plan_export(predictor: Predictor) -> Plan:
    """Choose what is exported of a model: a graph of regions or of a window.

    Raises:
        UserError: for a model that reads neither.
    """
    reads, name = predictor.model.config.reads, predictor.labeller.loaded.name
    if reads.regions:
        return plan_regions(predictor)
    if reads.windows and not reads.holds_encoder:
        return plan_window(predictor)
    raise UserError(
        f"{predictor.labeller.loaded.folder}: a {name} cannot be exported as ONNX; only models "
        "that read regions alone, or pixels by an encoder of their own, can: segment_mil, groupvit"
    )


def plan_regions(predictor: Predictor) -> Plan:
    """Plan the export of a model that reads regions."""
    loaded, maker = predictor.labeller.loaded, predictor.labeller.maker
    assert maker is not None
    encoder: Any = loaded.frozen()
    side = getattr(encoder, "encoder", encoder).size
    graph = RegionGraph(loaded.model, encoder, maker.max_regions, maker.side)
    least, classes = count_classes(predictor)
    inputs = {
        "picture": torch.zeros(1, side, side, 3, dtype=torch.uint8),
        "regions": torch.zeros(1, maker.side, maker.side, dtype=torch.int64),
        "classes": classes,
    }
    about = {
        "input.picture": f"uint8 [1, {side}, {side}, 3]: the picture in RGB, resized to a square "
        "with Pillow's BILINEAR; fixed",
        "input.regions": f"int64 [1, {maker.side}, {maker.side}]: the region of each cell, 0 to "
        f"{maker.max_regions - 1}; fixed",
        "output.scores": f"float32 [1, classes, {maker.side}, {maker.side}]: cosines or scores of "
        "each cell; resize labels to the picture by nearest neighbours",
        "regions": json.dumps(loaded.context["regions"], sort_keys=True),
    }
    return Plan(graph, inputs, least, describe(predictor, "regions") | about)


def plan_window(predictor: Predictor) -> Plan:
    """Plan the export of a model that reads pixels."""
    side, choices = 2 * predictor.model.config.reads.picture, predictor.protocol.choices
    graph = WindowGraph(predictor.model, choices)
    least, classes = count_classes(predictor)
    has_background = any(getattr(one, "background", None) is not None for one in choices)
    channels = "background and classes" if has_background else "classes"
    about = {
        "input.window": f"float32 [1, 3, {side}, {side}]: pixels in 0..1, minus mean {MEAN}, by "
        f"deviation {STD}; fixed",
        "output.scores": f"float32 [1, {channels}, {side}, {side}]: mask logits",
        "windows": "resize the short side to that of a window (bilinear), average the scores of "
        "windows half a window apart, resize them to the picture (bilinear)",
    }
    inputs = {"window": torch.zeros(1, 3, side, side), "classes": classes}
    return Plan(graph, inputs, least, describe(predictor, "windows") | about)


def describe(predictor: Predictor, kind: str) -> dict[str, str]:
    """Return the metadata that all exported models have."""
    loaded, (least, classes) = predictor.labeller.loaded, count_classes(predictor)
    return {
        "captionseg": __version__,
        "model": loaded.name,
        "recipe": str(loaded.context.get("recipe", "")),
        "kind": kind,
        "prompts": predictor.protocol.prompts,
        "input.classes": f"float32 [classes, {classes.shape[1]}]: embeddings of the labels "
        f"(captionseg export --labels writes them); any number from {least} on",
    }


def count_classes(predictor: Predictor) -> tuple[int, Tensor]:
    """Return the smallest number of classes of the graph, and embeddings of a few more classes."""
    kept = max((getattr(one, "top_k", 0) for one in predictor.protocol.choices), default=0)
    least = max(2, kept)
    names = [f"thing {number}" for number in range(least + 3)]
    return least, torch.from_numpy(predictor.embed_labels(names))
