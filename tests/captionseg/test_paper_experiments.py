"""Experiments at paper scale: params that are fine, models of full size without memory, and two
steps of a small copy.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from captionseg.checks.check import check
from captionseg.checks.licences import list_forbidding
from captionseg.experiments import Experiment, read_experiment
from captionseg.modeling.segmenter import InputSpec
from captionseg.params import Params
from captionseg.training.schedule import make_scheduler
from captionseg.typed import replace_fields
from perf import paper_costs, paper_models, part_costs

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in sorted((ROOT / "experiments" / "paper").glob("*.yaml"))}
PLANS = [
    (experiment, recipe)
    for experiment, path in FILES.items()
    for recipe in read_experiment(path).params["recipes"]
]
OF_USER = [
    "shards/",
    "annotations/",
    "annotations/captions_train2017.json",
    "grounding-dino-tiny/",
    "bert-base-uncased/",
    "PE-Core-B-16.safetensors",
    "ViT-B-16.pt",
    "ViT-L-14-336px.pt",
    "captions.parquet",
    "dino_vitb16.safetensors",
    "sam2.1-hiera-base-plus/",
    "sam2.1-hiera-large/",
    "sam3/",
    "sam_vit_h_4b8939.pth",
    "siglip2-large-patch16-256/",
    "siglip2-large-patch16-256/model.safetensors",
    "siglip2-so400m-patch14-384/",
    "siglip2-so400m-patch14-384/model.safetensors",
    "vit_base_patch16_dinov3.safetensors",
    "vit_large_patch14_clip_336.safetensors",
    "vit_large_patch14_dinov2.safetensors",
    "vit_large_patch16_dinov3.safetensors",
]
BERT = {
    "model_type": "bert",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": 30522,
    "intermediate_size": 3072,
}
ENCODER = {"size": 32, "width": 16, "heads": 2}
TEXT = {"width": 16, "depth": 1, "heads": 2}
GROUNDER = {"grounder": {"blocks": 1, "factor": 2}, "picture": 32}
SHRUNK = {
    "groupvit": {
        "towers": {
            "encoder": {
                **ENCODER,
                "depths": [1, 1, 1],
                "group_tokens": [4, 2, 0],
                "groups": [4, 2],
            },
            "text": TEXT,
            "hidden": 16,
            "embedding": 8,
        }
    },
    "ovsegmentor": {
        "towers": {
            "encoder": {**ENCODER, "depths": [1, 1], "group_tokens": [4, 0], "groups": [4]},
            "text": {**TEXT, "hidden": 32},
            "hidden": 16,
            "embedding": 8,
        },
        "mask_from": 1,
    },
    "segment_mil": {"hidden": 16},
    "tcl": GROUNDER,
    "code": {"tcl": GROUNDER, "words": {"context": 3}},
    "use": {"networks": [{"name": "test_vit"}], "crop": 64, "cell": 16, "cls": False},
}
"""What makes a published model small enough for a test."""


@pytest.fixture(scope="module")
def folder_of_user(tmp_path_factory) -> Path:
    """What the experiments need, as empty files."""
    root = tmp_path_factory.mktemp("user")
    for name in OF_USER:
        (root / name).mkdir() if name.endswith("/") else (root / name).touch()
    (root / "bert-base-uncased" / "config.json").write_text(json.dumps(BERT))
    return root


@pytest.fixture(scope="module")
def small_clip(tmp_path_factory) -> str:
    """A CLIP of open_clip on pictures of 32 pixels."""
    import open_clip

    folder = tmp_path_factory.mktemp("open_clip")
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}
    (folder / "small-paper.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    return "small-paper"


def read(name: str) -> Experiment:
    return read_experiment(FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_params_are_fine_and_train_nothing_else(name, folder_of_user, tmp_path):
    experiment = read(name).place(name, folder_of_user)
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    apply_overrides(str(path), to_path_overrides(experiment.overrides)["params.yaml"])
    params = Params(path)
    check(params)
    assert not name.startswith("3m_") or not list(list_forbidding(params))
    assert set(params.recipes) == set(experiment.params["recipes"])
    assert experiment.cost is not None
    assert set(experiment.cost.recipes) == set(params.recipes)


@pytest.mark.parametrize(("name", "recipe"), PLANS)
def test_parameters_and_hours_are_those_of_the_file(name, recipe):
    """The model is built in full size, on no device."""
    experiment = read(name)
    plan, cost = paper_models.list_plans(experiment)[recipe], experiment.cost
    assert cost is not None
    known = cost.recipes[recipe]
    with torch.device("meta"):
        trained, frozen = paper_models.build_full_size(plan).count()
    found = (paper_costs.shorten(trained / 1e6), paper_costs.shorten(frozen / 1e6))
    assert found == (known.trained, known.frozen)
    pictures = plan.params.epochs * (cost.pairs // plan.params.batch) * plan.params.batch
    hours = pictures * known.gflop * 1e9 / paper_costs.OPERATIONS / 3600
    assert hours == pytest.approx(known.hours, rel=0.02)


@pytest.mark.parametrize(("name", "recipe"), [pair for pair in PLANS if pair[0] != "cocu"])
def test_a_small_copy_trains_two_steps(name, recipe, small_clip):
    """With the schedule of the file, whose first steps are too small for numbers of 32 bits unless
    its peak is raised.
    """
    plan = paper_models.list_plans(read(name))[recipe]
    small = replace_fields(plan.index, {"open_clip": {"model": small_clip}}, "index")
    settings = {**plan.recipe.settings, **SHRUNK[plan.recipe.model]}
    plan = dataclasses.replace(
        plan,
        index=small,
        recipe=dataclasses.replace(plan.recipe, settings=settings),
        params=replace_fields(
            plan.params, {"texts": min(3, plan.params.texts), "learning_rate": 0.01}, "pretrain"
        ),
    )
    torch.manual_seed(0)
    model = paper_models.build_full_size(plan).model.train()
    learnt = {key: weight for key, weight in model.named_parameters() if weight.requires_grad}
    optimiser = torch.optim.AdamW(learnt.values(), lr=plan.params.learning_rate)
    schedule = make_scheduler(optimiser, plan.params, steps=plan.params.epochs * 50_000)
    width = getattr(model.config, "text_width", 0) or 16
    for _ in range(2):
        before = {key: weight.detach().clone() for key, weight in learnt.items()}
        batch = paper_costs.make_batch(model.config, 4, plan.params.texts, width)
        loss = torch.stack(list(model.losses(model(batch)).values())).sum()
        assert torch.isfinite(loss)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    still = [key for key, weight in learnt.items() if torch.equal(weight, before[key])]
    assert len(still) < len(learnt) / 5, still


def test_operations_and_bytes_of_a_step_by_hand():
    """Two linear maps: 2 x 3 x 4 x 5 operations forwards, twice as many backwards, once for the
    first map, whose input needs no gradient.
    """

    class Two(nn.Module):
        config = type("Config", (), {"reads": InputSpec(picture=1), "text_width": 4})

        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 5, bias=False), nn.Linear(5, 6, bias=False)

        def forward(self, batch):
            return self.second(self.first(batch.caption_embedding))

        def losses(self, outputs, gather):
            return {"sum": outputs.sum()}

    plan = next(iter(paper_models.list_plans(read("groupvit")).values()))
    built = paper_models.Built(Two(), [])
    assert built.count() == (50, 0)
    operations, kept = paper_costs.measure_step(built, plan, 3)
    assert operations == 2 * 3 * (4 * 5 * 2 + 5 * 6 * 3)
    assert kept == 4 * 3 * (4 + 5)


def test_operations_and_memory_of_a_part_by_hand():
    """One map from 8 to 4 numbers and an attention of 4 heads, of 6 pictures of 5 tokens: the input
    is dropped, and with it what is alive falls.
    """
    linear = nn.Linear(8, 4, bias=False, device="meta")

    def run():
        x = torch.zeros(6, 5, 8)
        y = linear(x)
        del x
        return F.scaled_dot_product_attention(y, y, y)

    gflop, gib = part_costs.measure(linear, run, 6)
    assert gflop * 1e9 == pytest.approx(5 * 2 * 8 * 4 + 4 * 5 * 5 * 4)
    assert gib * 2**30 == pytest.approx(4 * 32 + 2 * (6 * 5 * 8 + 6 * 5 * 4))


def test_attention_on_a_cpu_is_counted():
    query, key = torch.randn(1, 2, 8, 4, requires_grad=True), torch.randn(1, 2, 6, 4)
    with FlopCounterMode(display=False, custom_mapping=paper_costs.ATTENTION) as counter:
        F.scaled_dot_product_attention(query, key, key).sum().backward()
    assert counter.get_total_flops() == 2 * 2 * (2 + 5) * 8 * 6 * 4


def test_other_ranks_have_other_concepts():
    gathered = paper_costs.repeat_ranks(torch.tensor([[3, -1]]), 2)
    assert gathered.tolist() == [[3, -1], [1_000_003, -1]]
    assert paper_costs.repeat_ranks(torch.ones(2, 3), 4).shape == (8, 3)
