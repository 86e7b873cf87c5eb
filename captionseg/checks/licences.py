"""Licences of the parts that can be plugged in: the one place that knows them.

A licence is that of the weights or the pictures, not of the code. Names are those of model cards.
Weights of timm say themselves which licence they have.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from captionseg.params import Params
from captionseg.records import UserError

NONE = "no weights"
"""Licence of parts without weights."""
YOURS = "yours"
"""Licence of parts that only read files of the user, or pictures that say their own licences."""
UNKNOWN = "see its card"
"""Licence of parts that take any model."""
COCO = "CC BY 4.0 (captions), each picture's own at Flickr"

FORBIDDING = {
    "apple-amlr": "which is for research alone",
    "cc-by-nc-4.0": "which forbids commercial use",
    "fair-noncommercial-research-license": "which forbids commercial use",
    COCO: "some of which forbid commercial use",
}
"""Licences that forbid commercial use, and what is said of them."""
ALLOWING = (
    "apache-2.0",
    "apple-ascl",
    "bsd-3-clause",
    "dinov3-license",
    "mit",
    "sam-license",
    NONE,
    YOURS,
)
"""Licences that allow it; DINOv3's, SAM 3's and Apple's for sample code have terms of their own."""

LICENCES = {
    "download": {
        "photo_scenes": YOURS,
        "shapes": NONE,
        "folder": YOURS,
        "table": YOURS,
        "coco_captions": COCO,
        "shards": YOURS,
        "urls": YOURS,
    },
    "caption": {"none": NONE, "chat": UNKNOWN, "server": UNKNOWN, "precomputed": YOURS},
    "index": {"lite0_minilm": "apache-2.0", "siglip": "apache-2.0", "tips": "apache-2.0"},
    "regions": {"felzenszwalb": NONE, "sam2": "apache-2.0"},
    "grounder": {
        "relevance": NONE,
        "precomputed": YOURS,
        "grounding_dino": "apache-2.0",
        "owlv2": "apache-2.0",
        "sam3": "sam-license",
    },
    "segmenter": {
        "superpixels": NONE,
        "sam": "apache-2.0",
        "sam2": "apache-2.0",
        "sam_hq": "apache-2.0",
        "none": NONE,
    },
    "model": {"sam3": "sam-license"},
    "masks": {
        "regions": NONE,
        "hierarchy": NONE,
        "sam_auto": "apache-2.0",
        "sam2_auto": "apache-2.0",
    },
}
"""Family -> member -> licence, of members that do not have weights under several licences."""

OPEN_CLIP = (
    (r"metaclip|nllb", "cc-by-nc-4.0"),
    (r"mobileclip", "apple-amlr"),
    (r"dfn\d", "apple-ascl"),
    (r"siglip|pe-core|clipa", "apache-2.0"),
    (r"eva0|vitamin", "mit"),
    (r"openai|laion|datacomp|commonpool|yfcc15m|cc12m", "mit"),
)
"""Patterns of open_clip's names of models and tags (`MODEL TAG`) -> licence; the first applies."""


class Part(NamedTuple):
    """A part that params.yaml chooses.

    Attributes:
        stage: the first stage that loads it.
        where: dotted path of the choice.
        name: what was chosen.
        licences: those that its weights may have; more than one if the file does not tell.
    """

    stage: str
    where: str
    name: str
    licences: tuple[str, ...]


def list_forbidding(params: Params, *, stage: str = "", recipe: str = "") -> Iterator[str]:
    """Yield one line for each chosen part whose licence forbids commercial use.

    Args:
        params: the params.
        stage: only parts that this stage loads; empty means all.
        recipe: only this recipe's; empty means all.
    """
    for part in list_parts(params, stage=stage, recipe=recipe):
        if part.licences and set(part.licences) <= FORBIDDING.keys():
            says = f"{' or '.join(part.licences)}, {FORBIDDING[part.licences[0]]}"
            yield f"{part.where}: {part.name} has the licence {says}"


def list_unknown(params: Params) -> Iterator[str]:
    """Yield one line for each chosen part of which it is not known whether its licence allows
    commercial use.
    """
    for part in list_parts(params):
        if not set(part.licences) <= {*ALLOWING, *FORBIDDING} or not part.licences:
            yield f"{part.where}: the licence of {part.name} is not known here; read its card"
        elif len({licence in FORBIDDING for licence in part.licences}) > 1:
            yield (
                f"{part.where}: the licence of {part.name} depends on the weights "
                f"({' or '.join(part.licences)}); read their card"
            )


def list_parts(params: Params, *, stage: str = "", recipe: str = "") -> Iterator[Part]:
    """Yield the parts that params.yaml chooses; see `list_forbidding`."""
    makers = {
        "download": list_sources,
        "caption": list_captioners,
        "regions": list_regions,
        "index": list_encoders,
        "segment_text": list_segment_makers,
        "evaluate": list_masks,
    }
    for name, make in makers.items():
        if stage in ("", name):
            yield from make(params)
    if stage in ("", "pretrain"):
        for one in [recipe] if recipe else params.recipes:
            yield from list_towers(params, one)


def list_sources(params: Params) -> Iterator[Part]:
    """Yield the source of pairs."""
    source = str(params.value("download.source"))
    yield make_part("download", "download.source", "download", source)


def list_captioners(params: Params) -> Iterator[Part]:
    """Yield the captioner."""
    captioner = params.caption.captioner
    model = getattr(getattr(params.caption, captioner, None), "model", "")
    part = make_part("caption", "caption.captioner", "caption", captioner)
    yield part._replace(name=f"{captioner} {model}".strip())


def list_regions(params: Params) -> Iterator[Part]:
    """Yield the region maker."""
    yield make_part("regions", "regions.maker", "regions", params.regions.maker)


def list_encoders(params: Params) -> Iterator[Part]:
    """Yield the frozen encoder."""
    index = params.index
    if index.encoder != "open_clip":
        yield make_part("index", "index.encoder", "index", index.encoder)
        return
    chosen = index.open_clip
    yield Part(
        "index",
        "index.open_clip",
        f"{chosen.model} {chosen.pretrained}",
        find_open_clip_licences(chosen.model, chosen.pretrained),
    )


def list_segment_makers(params: Params) -> Iterator[Part]:
    """Yield the grounder and the segmenter of boxes."""
    for family in ("grounder", "segmenter"):
        member = getattr(params.segment_text, family)
        yield make_part("segment_text", f"segment_text.{family}", family, member)


def list_masks(params: Params) -> Iterator[Part]:
    """Yield the mask maker of `evaluate`."""
    if (masks := params.evaluate.masks) is not None:
        yield make_part("evaluate", "evaluate.masks", "masks", masks.maker)


def list_towers(params: Params, recipe: str) -> Iterator[Part]:
    """Yield what a recipe plugs in: image towers of its model, and its mask maker."""
    from captionseg.training.params import model_config

    row, where = params.recipes[recipe], f"recipes.{recipe}"
    if row.masks is not None:
        yield make_part("pretrain", f"{where}.masks", "masks", row.masks.get("maker", "regions"))
    if row.model in LICENCES["model"]:
        yield make_part("pretrain", where, "model", row.model)
    try:
        config = model_config(row, params.pretrain)
    except UserError:
        return  # it is said elsewhere
    for name, weights in find_towers(config):
        yield Part("pretrain", where, f"{name} {weights}", find_tower_licences(name, weights))


def find_towers(config: Any) -> Iterator[tuple[str, str]]:
    """Yield the name and the weights of every image tower in a config and those nested in it."""
    from captionseg.modeling.layers.backbone import Network

    for _, one in walk_configs(config):
        name = one.name if isinstance(one, Network) else getattr(one, "backbone", "")
        if name and (weights := getattr(one, "weights", "")):
            yield name, weights


def walk_configs(config: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted path and the value of a config and of all configs in it.

    Args:
        config: a dataclass; nothing else is a config.
        where: its own path.
    """
    if not dataclasses.is_dataclass(config):
        return
    yield where, config
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for inner in value if isinstance(value, tuple | list) else [value]:
            yield from walk_configs(inner, f"{where}.{field.name}")


def make_part(stage: str, where: str, family: str, member: str) -> Part:
    """Make the part of a member of a family."""
    return Part(stage, where, member, (LICENCES[family].get(member, UNKNOWN),))


def find_open_clip_licences(model: str, weights: str) -> tuple[str, ...]:
    """Return the licences that weights of open_clip may have.

    Args:
        model: name in open_clip.
        weights: tag, or path of a file.
    """
    import open_clip

    from captionseg.modeling.layers.timm_tags import narrow_tags

    tags = open_clip.list_pretrained_tags_by_model(model)
    return tuple(sorted({match_open_clip(f"{model} {tag}") for tag in narrow_tags(tags, weights)}))


def match_open_clip(name: str) -> str:
    """Return the licence of `MODEL TAG` of open_clip."""
    found = (licence for pattern, licence in OPEN_CLIP if re.search(pattern, name.lower()))
    return next(found, UNKNOWN)


def find_tower_licences(name: str, weights: str) -> tuple[str, ...]:
    """Return the licences that weights of an image tower may have, as timm says them.

    Args:
        name: name of the network, see captionseg.modeling.layers.backbone.Network.
        weights: tag, path of a file, or `packaged`.
    """
    import timm

    from captionseg.modeling.layers.timm_tags import PACKAGED, narrow_tags

    model = name.removeprefix("open_clip:")
    if model != name:
        return find_open_clip_licences(model, weights)
    model, _, tag = name.partition(".")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{model}.*")]
    if tag or weights == PACKAGED:
        tags = [tag] if tag in tags else tags
    configs = (timm.get_pretrained_cfg(f"{model}.{one}") for one in narrow_tags(tags, weights))
    return tuple(sorted({str(config.license or UNKNOWN) for config in configs if config}))
