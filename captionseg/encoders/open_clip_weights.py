"""A model of open_clip with the weights of a tag or of a file, as they were trained: activation,
positions, pixels.
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
from captionseg.records import UserError, one_line
from captionseg.runtime.weights import load_into

WHERE = "index.open_clip"
SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
PIXELS = {
    "openai": Pixels(*OPENAI_PIXELS),
    "inception": Pixels((0.5,) * 3, (0.5,) * 3),
    "imagenet": Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "none": Pixels((0.0,) * 3, (1.0,) * 3),
}


class ModelChoice(Protocol):
    """Fields of `index.open_clip` that say which model it is, see
    captionseg.encoders.open_clip.OpenClipParams.
    """

    @property
    def model(self) -> str: ...

    @property
    def pretrained(self) -> str: ...

    @property
    def size(self) -> int | None: ...

    @property
    def activation(self) -> str: ...

    @property
    def normalise(self) -> str: ...


def load(params: ModelChoice) -> Any:
    """The model that the params name, on the CPU.

    Raises:
        UserError: for a model or tag that open_clip does not know, a file that does not fit, or one
            that does not say what decides its results.
    """
    import open_clip

    config = (
        open_clip.get_model_config(params.model)
        if params.model in open_clip.list_models()
        else None
    )
    if config is None:
        raise UserError(
            f"{WHERE}.model: open_clip has no {params.model!r}; "
            "`python -c 'import open_clip; print(open_clip.list_models())'` lists its models"
        )
    twin, named = f"{params.model}-quickgelu", bool(config.get("quick_gelu", False))
    if params.activation == "gelu" and params.model.endswith("-quickgelu"):
        raise UserError(
            f"{WHERE}: model {params.model} and activation: gelu contradict each other; remove one"
        )
    request = ActivationRequest(
        params.activation,
        named,
        twin if twin in open_clip.list_models() else "",
        params.model,
        f"{WHERE}.activation",
    )
    path, tag, downloaded = find_weights(params)
    if tag is not None and not request.twin:
        # there is one model of this name, and it is what its tags are of
        tag = {**tag, "quick_gelu": named}
    file = open_weights(path, tag, params.model)
    if downloaded:  # what lies beside it in a cache is no better known
        evidence = tuple(one for one in file.evidence if one.by == BY_TAG)
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
    return model


def open_weights(path: Path, tag: Mapping[str, Any] | None, model: str) -> ClipFile:
    """See `read_clip`, for a model."""
    try:
        return read_clip(path, tag)
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UserError(f"{WHERE}: {path} does not load into {model}: {reason}") from None


def find_weights(params: ModelChoice) -> tuple[Path, Mapping[str, Any] | None, bool]:
    """The file of the weights; what open_clip knows of it; and whether it was downloaded, for a
    tag.

    Raises:
        UserError: for a tag or a file that is not there.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    choice = params.pretrained
    is_file = Path(choice).suffix in SUFFIXES or "/" in choice
    if not is_file:
        tags = open_clip.list_pretrained_tags_by_model(params.model)
        if choice not in tags:
            raise UserError(
                f"{WHERE}.pretrained: no tag {choice!r} for {params.model} (tags: "
                f"{', '.join(tags) or 'none'}); or give the path of a checkpoint"
            )
        tag: dict[str, Any] = get_pretrained_cfg(params.model, choice)
        try:
            return Path(open_clip.download_pretrained(tag)), tag, True
        except Exception as error:  # whatever a client of the network may raise
            raise UserError(
                f"{WHERE}: cannot download the weights of {params.model}, {choice}: "
                f"{one_line(error)}; give the path of a file"
            ) from None
    if not Path(choice).is_file():
        raise UserError(f"{WHERE}.pretrained: no such file: {choice}")
    return Path(choice), find_release(Path(choice), params.model), False


def find_release(path: Path, model: str) -> Mapping[str, Any] | None:
    """What open_clip knows of a file by the name under which it is released, or its place in the
    hub's cache.

    Names of OpenAI's files are their models' names, which anybody's files may have; those say by
    themselves what they are.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    for name in open_clip.list_pretrained_tags_by_model(model):
        tag: dict[str, Any] = get_pretrained_cfg(model, name)
        released = tag["url"].rsplit("/", 1)[-1]
        hub = tag["hf_hub"].rsplit("/", 1)[0]
        places = {"models--" + hub.replace("/", "--"), hub.rsplit("/", 1)[-1]} if hub else set()
        if (name != "openai" and released == path.name) or places & set(path.absolute().parts[:-1]):
            return tag
    return None


def normalisation(
    params: ModelChoice, file: ClipFile, config: Mapping[str, Any], quick: bool
) -> Pixels:
    """By which mean and deviation a model takes its pixels.

    Raises:
        UserError: where the tags of the model differ and nothing says of which the file is.
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
    """Those of a config of open_clip's own."""
    return Pixels(tuple(config["mean"]), tuple(config["std"]))


def build_empty(params: ModelChoice, quick: bool, pixels: Pixels) -> Any:
    """The model with random weights; nothing is downloaded for it."""
    import open_clip

    try:
        with silence_warning():
            model: Any = open_clip.create_model(
                params.model,
                pretrained_text=False,
                quick_gelu=quick,
                force_image_size=params.size,
                force_preprocess_cfg={"mean": pixels.mean, "std": pixels.std},
            )
    except Exception as error:  # whatever a model of others may raise
        raise UserError(
            f"{WHERE}: open_clip cannot build {params.model}: {one_line(error)}"
        ) from None
    patch = getattr(model.visual, "patch_size", None)
    if params.size and patch and any(params.size % side for side in patch):
        raise UserError(
            f"{WHERE}.size: {params.size} is not a multiple of {patch[0]}, the patch size of "
            f"{params.model}"
        )
    return model


@contextlib.contextmanager
def silence_warning() -> Iterator[None]:
    """Without open_clip's warning that no weights were loaded: they are loaded here."""

    def is_wanted(record: logging.LogRecord) -> bool:
        return "No pretrained weights loaded" not in record.getMessage()

    top = logging.getLogger()
    top.addFilter(is_wanted)
    try:
        yield
    finally:
        top.removeFilter(is_wanted)


def fit_tensors(file: ClipFile, model: Any, params: ModelChoice) -> dict[str, Tensor]:
    """Tensors as the model has them; learnt positions are resized only where `size` asks for it.

    Raises:
        UserError: for a file of another size, or of texts of another length.
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
