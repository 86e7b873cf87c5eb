"""The models of experiments at paper scale, in full size and with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from captionseg.encoders.dense_head import build_joint_head, build_vit_head
from captionseg.encoders.lite0_minilm import IMAGE_BLOCKS
from captionseg.encoders.open_clip import OpenClip
from captionseg.encoders.open_clip_weights import get_config
from captionseg.experiments import Experiment
from captionseg.index_params import IndexParams
from captionseg.modeling.layers.backbone import (
    BackboneBlocks,
    BackboneFeatures,
    build_without_weights,
)
from captionseg.modeling.models import MODELS
from captionseg.modeling.segmenter import Sizes
from captionseg.modeling.towers.frozen_towers import FrozenModule
from captionseg.recipes import Recipe
from captionseg.runtime.device import detect
from captionseg.runtime.params import RuntimeParams
from captionseg.training.params import PretrainParams, model_config
from captionseg.typed import build, replace_fields

GEOMETRY = 7
"""Numbers of the place and the shape of a region, see captionseg.segmenters.pooling."""
SIGLIP = {"base": 768, "large": 1024, "so400m": 1152, "giant": 1536}
"""Size in the name of a folder of SigLIP -> width of its space."""


@dataclass(frozen=True)
class Plan:
    """A recipe of an experiment, as it would be trained.

    Attributes:
        recipe: the recipe.
        params: section `pretrain` with the recipe's training.
        index: section `index`.
        runtime: section `runtime`.
        pairs: number of pairs.
    """

    recipe: Recipe
    params: PretrainParams
    index: IndexParams
    runtime: RuntimeParams
    pairs: int

    @property
    def gpus(self) -> int:
        """Number of GPUs."""
        return self.runtime.devices * self.runtime.nodes


@dataclass(frozen=True)
class Built:
    """A model in full size.

    Attributes:
        model: the model.
        frozen: modules that it runs but does not hold.
    """

    model: Any
    frozen: list[nn.Module]

    def count(self) -> tuple[int, int]:
        """Return the numbers of trained and of frozen parameters."""
        inside = list(self.model.parameters())
        trained = sum(weight.numel() for weight in inside if weight.requires_grad)
        outside = {id(w): w for module in self.frozen for w in module.parameters()}
        frozen = sum(weight.numel() for weight in inside if not weight.requires_grad)
        return trained, frozen + sum(weight.numel() for weight in outside.values())


def list_plans(experiment: Experiment) -> dict[str, Plan]:
    """Return the plans of the recipes of an experiment at paper scale."""
    assert experiment.cost is not None
    raw = experiment.params
    pretrain = build(PretrainParams, raw["pretrain"], "pretrain")
    sections = (
        build(IndexParams, raw.get("index", {}), "index"),
        build(RuntimeParams, raw["runtime"], "runtime"),
        experiment.cost.pairs,
    )
    recipes = {name: build(Recipe, row, name) for name, row in raw["recipes"].items()}
    return {
        name: Plan(recipe, replace_fields(pretrain, recipe.training, name), *sections)
        for name, recipe in recipes.items()
    }


def without_weights(value: Any) -> Any:
    """Return settings of a recipe without the names of files."""
    if isinstance(value, list):
        return [without_weights(item) for item in value]
    if isinstance(value, dict):
        return {key: without_weights(item) for key, item in value.items() if key != "weights"}
    return value


def build_encoder(index: IndexParams) -> SimpleNamespace:
    """Build the frozen encoder of an index: its clip, tokens of texts and pixels to features."""
    import open_clip

    config = dict(get_config(index.open_clip))
    shapes = {key: config[key] for key in ("embed_dim", "vision_cfg", "text_cfg")}
    clip: Any = open_clip.CLIP(**shapes, quick_gelu=bool(config.get("quick_gelu")))
    clip.visual.image_mean = clip.visual.image_std = None  # CLIP's own
    side, joint = clip.visual.image_size[0], index.open_clip.dense == "joint"
    head = build_joint_head(config["embed_dim"]) if joint else build_vit_head(clip.visual)
    return SimpleNamespace(clip=clip.requires_grad_(False), head=head.config, side=side)


def find_sizes(index: IndexParams) -> Sizes:
    """Return the widths of texts and of features of regions that an encoder gives."""
    if index.encoder == "lite0_minilm":
        return Sizes(regions=index.dense_width + IMAGE_BLOCKS + GEOMETRY, texts=384)
    if index.encoder == "open_clip":
        width = get_config(index.open_clip)["embed_dim"]
    else:
        width = next(n for word, n in SIGLIP.items() if word in index.siglip.folder)
    return Sizes(width + GEOMETRY, texts=width, head=build_joint_head(width).config)


def build_full_size(plan: Plan) -> Built:
    """Build the model of a plan, with random weights, on the current default device."""
    settings = without_weights(plan.recipe.settings)
    recipe = Recipe(**{**vars(plan.recipe), "settings": settings})
    config, kind = model_config(recipe, plan.params), MODELS[recipe.model][1]
    if config.reads.holds_encoder:
        encoder = build_encoder(plan.index)
        words = encoder.clip.token_embedding.weight.shape[1]
        held: Any = kind(
            config.with_sizes(Sizes(texts=encoder.head.out, words=words, head=encoder.head))
        )
        if not encoder.clip.visual.proj.is_meta:
            attach(held, encoder, plan.index)
        return Built(held, [encoder.clip])
    model: Any = kind(config.with_sizes(find_sizes(plan.index)))
    towers = getattr(model, "frozen_towers", None)
    if towers is None:
        return Built(model, [])
    blocks = [build_without_weights(one.name, one.blocks) for one in towers.networks]
    towers.loaded = [FrozenModule(Shapes(one)) for one in blocks]
    return Built(model, [*blocks])


class Shapes(nn.Module):
    """Runs a frozen tower on the meta device, where operations are counted and nothing is computed,
    and returns noise of the shapes of its features.

    Args:
        tower: the tower, on the meta device.
    """

    def __init__(self, tower: BackboneBlocks) -> None:
        super().__init__()
        self.towers = [tower]  # in a list, so that no weight is moved

    @torch.no_grad()
    def forward(self, image: Tensor) -> BackboneFeatures:
        """Return noise."""
        maps, cls, final = self.towers[0](image.to("meta"))
        noise = [torch.randn(x.shape) for x in (*maps, cls, final)]
        return BackboneFeatures(noise[:-2], noise[-2], noise[-1])


def attach(model: Any, encoder: SimpleNamespace, index: IndexParams) -> None:
    """Attach an encoder to a model that runs it."""
    import open_clip

    tokenizer = open_clip.get_tokenizer(index.open_clip.model)
    model.attach(
        OpenClip(
            encoder.clip,
            tokenizer,
            encoder.side,
            1,
            detect("cpu", "fp32"),
            dense=index.open_clip.dense,
        )
    )
