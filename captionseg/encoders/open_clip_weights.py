"""Loads models of open_clip from a pretrained tag or a file, with the activation, the positions and
the normalisation of pixels that the weights were trained with.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from captionseg.encoders.activation import ActivationRequest, choose_activation
from captionseg.encoders.clip_file import BY_TAG, OPENAI_PIXELS, ClipFile, Pixels, read_clip
from captionseg.encoders.open_clip_config import check_config
from captionseg.encoders.open_clip_releases import WHERE, find_weights
from captionseg.encoders.timm_tower import find_patch, find_pooling
from captionseg.records import UserError, one_line
from captionseg.runtime.weights import load_into

PIXELS = {
    "openai": Pixels(*OPENAI_PIXELS),
    "inception": Pixels((0.5,) * 3, (0.5,) * 3),
    "imagenet": Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": Pixels((0.0,) * 3, (1.0,) * 3),
}


class ModelChoice(Protocol):
    """Fields of captionseg.encoders.open_clip.OpenClipParams that determine the model."""

    @property
    def model(self) -> str:
        """Name of the model in open_clip."""
        ...

    @property
    def pretrained(self) -> str:
        """Tag of the weights, or path of a file."""
        ...

    @property
    def size(self) -> int | None:
        """Side of the square input in pixels; None takes the model's own."""
        ...

    @property
    def activation(self) -> str:
        """Activation of the MLPs."""
        ...

    @property
    def normalise(self) -> str:
        """Name of the normalisation of pixels."""
        ...


def load(params: ModelChoice) -> Any:
    """Load the model that the params name, on the CPU.

    Raises:
        UserError: for a model or a tag that open_clip does not know, a file that does not fit, or
            one whose activation or normalisation is unknown.
    """
    config = get_config(params)
    request = request_activation(params, config)
    path, tag, downloaded = find_weights(params.model, params.pretrained)
    if tag is not None and not request.twin:
        # All tags of a model without a twin are of its own activation, whatever they say.
        tag = {**tag, "quick_gelu": request.quick}
    file = open_weights(path, tag, params.model)
    if downloaded:  # other files of a download cache say nothing about this one
        evidence = tuple(piece for piece in file.evidence if piece.by == BY_TAG)
        file = dataclasses.replace(
            file, evidence=evidence, pixels=read_model_pixels(tag or {}), config={}
        )
    quick = choose_activation(file, request)
    pixels = normalisation(params, file, config, quick)
    model = build_empty(params, quick, pixels)
    check_config(file, config, model)
    try:
        load_into(model, fit_tensors(file, model, params), path, params.model)
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{WHERE}: {path} does not load into {params.model}: {reason}") from None
    if params.size and find_pooling(model.visual):
        model.visual.set_input_size(params.size)
    return model


def get_config(params: ModelChoice) -> Mapping[str, Any]:
    """Return open_clip's config of the chosen model.

    Raises:
        UserError: if open_clip has no such model.
    """
    import open_clip

    if params.model in open_clip.list_models():
        config = open_clip.get_model_config(params.model)
        if config is not None:
            return config
    raise UserError(
        f"{WHERE}.model: open_clip has no {params.model!r}; "
        "`python -c 'import open_clip; print(open_clip.list_models())'` lists its models"
    )


def request_activation(params: ModelChoice, config: Mapping[str, Any]) -> ActivationRequest:
    """Return what the params and the name of the model say about the activation.

    Raises:
        UserError: if they contradict each other.
    """
    import open_clip

    if params.activation == "gelu" and params.model.endswith("-quickgelu"):
        raise UserError(
            f"{WHERE}: model {params.model} and activation: gelu contradict each other; remove one"
        )
    twin = f"{params.model}-quickgelu"
    return ActivationRequest(
        params.activation,
        bool(config.get("quick_gelu", False)),
        twin if twin in open_clip.list_models() else "",
        params.model,
        f"{WHERE}.activation",
    )


def open_weights(path: Path, tag: Mapping[str, Any] | None, model: str) -> ClipFile:
    """Read a file of weights for a model, see `read_clip`.

    Raises:
        UserError: for a file that cannot be read; the message names the model.
    """
    try:
        return read_clip(path, tag)
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{WHERE}: {path} does not load into {model}: {reason}") from None


def normalisation(
    params: ModelChoice, file: ClipFile, config: Mapping[str, Any], quick: bool
) -> Pixels:
    """Find the mean and deviation that a model's pixels are normalised by.

    They are those of the params, the file, the model's config or, if these agree, all tags of the
    model with the same activation, in this order.

    Raises:
        UserError: if the tags differ and nothing else says which are right.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    if params.normalise != "auto":
        return PIXELS[params.normalise]
    if file.pixels is not None:
        return file.pixels
    own = config.get("preprocess_cfg") or {}
    if "mean" in own and "std" in own:
        return read_model_pixels(own)
    tags = [
        get_pretrained_cfg(params.model, tag)
        for tag in open_clip.list_pretrained_tags_by_model(params.model)
    ]
    released = {read_model_pixels(tag) for tag in tags if bool(tag.get("quick_gelu")) == quick}
    if len(released) > 1:
        raise UserError(
            f"{file.path}: unknown mean and deviation for normalising pictures, and released "
            f"weights of {params.model} differ in them; set {WHERE}.normalise: "
            f"{' or '.join(PIXELS)}"
        )
    return released.pop() if released else PIXELS["openai"]


def read_model_pixels(config: Mapping[str, Any]) -> Pixels:
    """Return mean and deviation of a config of open_clip."""
    return Pixels(tuple(config["mean"]), tuple(config["std"]))


def build_empty(params: ModelChoice, quick: bool, pixels: Pixels) -> Any:
    """Build the model with random weights; nothing is downloaded.

    Raises:
        UserError: if open_clip cannot build it, or its patches do not divide `size`.
    """
    import open_clip

    # timm's networks are resized after their weights are loaded, as in open_clip
    timm = "timm_model_name" in (open_clip.get_model_config(params.model) or {})["vision_cfg"]
    try:
        with silence_warning():
            model: Any = open_clip.create_model(
                params.model,
                pretrained_text=False,
                quick_gelu=quick,
                force_image_size=None if timm else params.size,
                force_preprocess_cfg={"mean": pixels.mean, "std": pixels.std},
            )
    except Exception as error:  # whatever a model of others may raise
        raise UserError(
            f"{WHERE}: open_clip cannot build {params.model}: {one_line(error)}"
        ) from None
    visual = model.visual
    patch = find_patch(visual) if find_pooling(visual) else getattr(visual, "patch_size", None)
    if params.size and patch and any(params.size % side for side in patch):
        raise UserError(
            f"{WHERE}.size: {params.size} is not a multiple of {patch[0]}, the patch size of "
            f"{params.model}"
        )
    return model


@contextlib.contextmanager
def silence_warning() -> Iterator[None]:
    """Suppress open_clip's warning that no weights were loaded; they are loaded later."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in record.getMessage()

    top = logging.getLogger()
    top.addFilter(is_wanted)
    try:
        yield
    finally:
        top.removeFilter(is_wanted)


def fit_tensors(file: ClipFile, model: Any, params: ModelChoice) -> dict[str, Tensor]:
    """Return the tensors in the form of the model; positions are only resized if `size` is set.

    Raises:
        UserError: for a file for another size of pictures.
    """
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed

    tensors = dict(file.tensors)
    if "positional_embedding" in tensors and not hasattr(model, "positional_embedding"):
        tensors = convert_to_custom_text_state_dict(tensors)
    for name in ("logit_scale", "logit_bias"):
        own = getattr(model, name, None)
        if name in tensors and own is not None and tensors[name].numel() == own.numel():
            tensors[name] = tensors[name].reshape(own.shape)
    name, own = "visual.positional_embedding", getattr(model.visual, "positional_embedding", None)
    positions = tensors.get(name)
    if positions is None or own is None or positions.ndim != 2 or len(positions) == len(own):
        return tensors
    side = round((len(positions) - 1) ** 0.5)
    if params.size is None:
        patch = model.visual.patch_size[0]
        raise UserError(
            f"{file.path}: for pictures of {side * patch} pixels, but {params.model} takes "
            f"{model.visual.image_size[0]}; choose the model of that size, or set {WHERE}.size: "
            f"{side * patch} (for any other size, positions are resized)"
        )
    if side**2 + 1 != len(positions) or positions.shape[1] != own.shape[1]:
        raise UserError(
            f"{file.path} does not load into {params.model}: {name} is {list(positions.shape)}, "
            f"expected {list(own.shape)}"
        )
    resize_pos_embed(tensors, model)
    return tensors
