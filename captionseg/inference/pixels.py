"""Mask logits and labels of pictures by a model, its prompts embedded and its protocol resolved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from captionseg.inference.contrast import contrast_labels
from captionseg.inference.mask_scores import label_from_masks, score_from_masks
from captionseg.inference.pamr import pamr, resize, size_grid
from captionseg.inference.refine import RefineParams
from captionseg.inference.region_pixels import contrast_regions, find_best, sample_regions
from captionseg.inference.windows import ResolvedProtocol, resize_short_side, slide_windows
from captionseg.model_inputs import Inputs
from captionseg.modeling.capabilities import ScoresRegions
from captionseg.modeling.readout.regions import average_regions, upsample_labels
from captionseg.prepared import pixel_inputs
from captionseg.records import UserError

MOST_LOGITS = 1 << 27  # of pixels and classes, only to score what was labelled without them


def mask_logits(
    model: Any,
    inputs: Inputs,
    classes: Float[Tensor, "class embedding"],
    protocol: ResolvedProtocol,
) -> Float[Tensor, "_class {inputs.size[0]} {inputs.size[1]}"]:
    """Return the contrasted and refined mask logits of one picture; the background, if any, comes
    first.

    Args:
        model: a Segmenter.
        inputs: inputs of one picture.
        classes: class embeddings.
        protocol: the resolved protocol; windows only apply to models that read pixels.
    """
    logits = unrefined_logits(model, inputs, classes, protocol)
    return refine_logits(contrast_labels(logits, protocol.contrast), inputs, protocol.refine)


def unrefined_logits(
    model: Any,
    inputs: Inputs,
    classes: Float[Tensor, "class embedding"],
    protocol: ResolvedProtocol,
) -> Float[Tensor, "_class {inputs.size[0]} {inputs.size[1]}"]:
    """Return `mask_logits` without contrast and refinement."""
    if inputs.masks is not None:
        return score_from_masks(model, inputs, classes, protocol.masks)
    side, windows = model.config.reads.picture, protocol.windows
    if not model.config.reads.windows or inputs.image is None:
        return model.segment(inputs, classes, *protocol.choices)[0]
    image, crop = (
        resize_short_side(inputs.image[0], windows.short_side or 2 * side),
        windows.crop or 2 * side,
    )

    def predict(
        part: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch _class height width"]:
        inputs = pixel_inputs(part, (part.shape[2], part.shape[3]))
        return model.segment(inputs, classes, *protocol.choices)

    logits = slide_windows(
        image, predict, crop=crop, stride=windows.stride or crop // 2, batch=windows.batch
    )
    return F.interpolate(logits[None].float(), inputs.size, mode="bilinear", align_corners=False)[0]


def refine_logits(
    logits: Float[Tensor, "class height width"], inputs: Inputs, params: RefineParams
) -> Float[Tensor, "class height width"]:
    """Refine the mask logits of one picture.

    Raises:
        UserError: if `inputs` lack the pixels or regions that the method needs.
    """
    if params.method == "none":
        return logits
    if params.method == "segments":
        return average_regions(logits, inputs)
    grid = size_grid(inputs.size, params.side)
    return resize(refine_coarsely(resize(logits, grid), inputs, params), inputs.size)


def refine_coarsely(
    coarse: Float[Tensor, "class rows columns"], inputs: Inputs, params: RefineParams
) -> Float[Tensor, "class rows columns"]:
    """Refine the mask logits of a picture on PAMR's grid, see `size_grid`.

    Raises:
        UserError: if `inputs` lack the pixels.
    """
    if inputs.image is None:
        raise UserError(
            "refine: pamr needs pixels, but these inputs have none; a bug of the caller"
        )
    return pamr(inputs.image[0], coarse, iterations=params.iterations, dilations=params.dilations)


def label_pixels(
    model: Any,
    inputs: Inputs,
    classes: Float[Tensor, "class embedding"],
    protocol: ResolvedProtocol,
) -> Int64[Tensor, "{inputs.size[0]} {inputs.size[1]}"]:
    """Return the best class of each pixel, -1 for background; arguments as of `mask_logits`."""
    if needs_no_logits(model, protocol):
        if inputs.masks is not None:
            return label_from_masks(model, inputs, classes, protocol.masks)
        return model.label(inputs, classes, *protocol.choices)[0]
    return label_by_logits(model, inputs, classes, protocol)[0]


def label_and_score(
    model: Any,
    inputs: Inputs,
    classes: Float[Tensor, "class embedding"],
    protocol: ResolvedProtocol,
) -> tuple[
    Int64[Tensor, "{inputs.size[0]} {inputs.size[1]}"],
    Float[Tensor, "{inputs.size[0]} {inputs.size[1]}"],
]:
    """Return the result of `label_pixels`, and the score of the best class of each pixel.

    Of models that label a picture without its logits, these are computed on a coarser grid if they
    would need much memory.
    """
    size, few = inputs.size, len(classes) * inputs.size[0] * inputs.size[1] <= MOST_LOGITS
    # what looks for each class in the whole picture would do so twice
    if not needs_no_logits(model, protocol) or (model.config.reads.whole and few):
        return label_by_logits(model, inputs, classes, protocol)
    labels = label_pixels(model, inputs, classes, protocol)
    if not isinstance(model, ScoresRegions) or inputs.masks is not None:
        size = shrink_grid(size, MOST_LOGITS // max(1, len(classes)))
    best = find_best_classes(model, replace(inputs, size=size), classes, protocol)[0]
    if size != inputs.size:
        best = F.interpolate(best[None, None].float(), inputs.size, mode="nearest-exact")[0, 0]
    return labels, best


def needs_no_logits(model: Any, protocol: ResolvedProtocol) -> bool:
    """Return whether a model labels a picture itself, without logits of pixels."""
    constant = protocol.background.policy == "constant"
    plain = protocol.refine.method == "none" and not protocol.contrast and not constant
    return plain and not model.config.reads.windows


def label_by_logits(
    model: Any,
    inputs: Inputs,
    classes: Float[Tensor, "class embedding"],
    protocol: ResolvedProtocol,
) -> tuple[
    Int64[Tensor, "{inputs.size[0]} {inputs.size[1]}"],
    Float[Tensor, "{inputs.size[0]} {inputs.size[1]}"],
]:
    """Return the class with the best logit of each pixel, -1 for background, and that logit."""
    best, labels, count = find_best_classes(model, inputs, classes, protocol)
    if protocol.background.policy == "constant":
        assert protocol.background.score is not None
        return labels.masked_fill(best < protocol.background.score, -1), best
    return labels - (count - len(classes)), best


def shrink_grid(size: tuple[int, int], most: int) -> tuple[int, int]:
    """Return a size of the same aspect ratio with at most about `most` pixels."""
    scale = min(1.0, (most / (size[0] * size[1])) ** 0.5)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def find_best_classes(
    model: Any,
    inputs: Inputs,
    classes: Float[Tensor, "class embedding"],
    protocol: ResolvedProtocol,
) -> tuple[
    Float[Tensor, "{inputs.size[0]} {inputs.size[1]}"],
    Int64[Tensor, "{inputs.size[0]} {inputs.size[1]}"],
    int,
]:
    """Return the largest of the `mask_logits` of each pixel, its number, and how many there are.

    With PAMR, and for models that score regions, no array of all pixels and classes is made beyond
    what the model itself returns.
    """
    refine = protocol.refine
    is_coarse, grid = refine.method == "pamr", size_grid(inputs.size, refine.side)
    if isinstance(model, ScoresRegions) and inputs.masks is None and refine.method != "segments":
        region = upsample_labels(inputs)[0]
        scores = model.region_logits(inputs, classes)[0].T
        scores = contrast_regions(scores, region, protocol.contrast)
        if not is_coarse:
            best, number = scores.max(0)
            return best[region], number[region], len(scores)
        coarse = sample_regions(scores, region, grid)
    else:
        logits = contrast_labels(
            unrefined_logits(model, inputs, classes, protocol), protocol.contrast
        )
        if not is_coarse:
            logits = refine_logits(logits, inputs, refine)
            best, number = logits.max(0)  # argmax is slower on the CPU
            return best, number, len(logits)
        coarse = resize(logits, grid)
        del logits
    best, number = find_best(refine_coarsely(coarse, inputs, refine), inputs.size)
    return best, number, len(coarse)
