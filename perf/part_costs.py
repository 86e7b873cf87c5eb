"""What a frozen part takes: parameters, operations and memory, computed without weights.

    python -m perf.part_costs [PATTERN]

Each model is built in full size on torch's meta device, which has shapes and no numbers, and sees
32 pictures of its own size. Operations are torch's count; for attention 4 x heads x queries x keys
x width of a head. Memory is that of all weights in fp32, plus the most that tensors of the forward
pass take at once: 2 bytes a number, as in bf16, and attention that stores no matrix, as on a GPU.
What CUDA and its allocator need for themselves, some GiB, comes on top. For grounders and SAM it is
the image encoder (Grounding DINO: the whole, with 32 tokens) and one picture of the size that they
resize to. The numbers stand in docs/models.md.
"""

from __future__ import annotations

import argparse
import functools
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

BATCH, TOKENS = 32, 32
ENCODERS = (
    "ViT-B-16",
    "ViT-L-14",
    "ViT-H-14",
    "RN50",
    "ViT-B-16-SigLIP",
    "ViT-SO400M-14-SigLIP",
    "ViT-B-16-SigLIP2",
    "ViT-L-16-SigLIP2-256",
    "ViT-SO400M-14-SigLIP2",
    "ViT-gopt-16-SigLIP2-256",
    "PE-Core-T-16-384",
    "PE-Core-S-16-384",
    "PE-Core-B-16",
    "PE-Core-L-14-336",
    "PE-Core-bigG-14-448",
    "EVA02-B-16",
    "EVA02-L-14",
    "EVA01-g-14",
    "EVA02-E-14",
    "MobileCLIP2-B",
    "MobileCLIP2-L-14",
    "ViTamin-B",
    "ViTamin-L",
)
TOWERS = {
    "tf_efficientnet_lite0": 224,
    "vit_large_patch14_clip_quickgelu_336": 560,
    "vit_base_patch14_dinov2": 560,
    "vit_large_patch14_dinov2": 560,
    "vit_base_patch14_reg4_dinov2": 560,
    "vit_small_patch16_dinov3": 512,
    "vit_base_patch16_dinov3": 512,
    "vit_large_patch16_dinov3": 512,
    "vit_huge_plus_patch16_dinov3": 512,
    "vit_base_patch16_siglip_256": 512,
    "vit_large_patch16_siglip_384": 512,
    "vit_so400m_patch14_siglip_378": 560,
}
"""Image towers of timm -> side of the pictures in pixels."""
HIERA: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "tiny": (96, 1, (1, 2, 7, 2)),
    "base-plus": (112, 2, (2, 3, 16, 3)),
    "large": (144, 2, (2, 6, 36, 4)),
}
"""Sizes of SAM 2.1 -> width, heads and blocks of its image encoder."""
HIERA_GLOBAL = {96: (5, 7, 9), 112: (12, 16, 20), 144: (23, 33, 43)}
"""Width -> blocks with attention over the whole picture."""


class Cost(NamedTuple):
    """What a part takes.

    Attributes:
        image: millions of parameters of the image encoder, or of all.
        text: millions of parameters of the text encoder; 0 if it has none.
        gflop: operations of a picture in 10^9.
        gib: memory in GiB.
    """

    image: float
    text: float
    gflop: float
    gib: float


class LiveBytes(TorchDispatchMode):
    """Follows how many numbers the tensors that are alive hold, and the most of them at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.seen: set[int] = set()

    def forget(self, key: int, numbers: int) -> None:
        """Count a storage that is gone."""
        self.seen.discard(key)
        self.live -= numbers

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it returns."""
        given = [x for x in tree_leaves(args) if isinstance(x, Tensor)]
        known = {id(x.untyped_storage()) for x in given}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            key, numbers = id(storage), storage.nbytes() // tensor.element_size()
            if key not in known and key not in self.seen:
                self.seen.add(key)
                self.live += numbers
                weakref.finalize(storage, self.forget, key, numbers)
        self.peak = max(self.peak, self.live)
        return out


def measure(
    model: Any, run: Callable[[], object], pictures: int, *, device: str = "meta"
) -> tuple[float, float]:
    """Return the operations of a picture in 10^9, and the memory in GiB.

    Args:
        model: the model.
        run: its forward pass.
        pictures: number of pictures of the pass.
        device: device of the model.
    """
    attention = 0

    def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        nonlocal attention
        pairs = math.prod(query.shape[:-1]) * key.shape[-2]
        attention += 2 * pairs * (query.shape[-1] + value.shape[-1])
        return query.new_empty((*query.shape[:-1], value.shape[-1]))

    counter, live = FlopCounterMode(display=False), LiveBytes()
    model.requires_grad_(False)
    with (
        torch.no_grad(),
        torch.device(device),
        mock.patch.object(F, "scaled_dot_product_attention", attend),
        counter,
        live,
    ):
        run()
    weights = 4 * count(model)
    operations = counter.get_total_flops() + attention
    return operations / pictures / 1e9, (weights + 2 * live.peak) / 2**30


def count(module: Any) -> int:
    """Return the number of parameters of a module."""
    return sum(weight.numel() for weight in module.parameters())


def compute_encoder(name: str) -> Cost:
    """Compute the cost of a model of open_clip."""
    import open_clip
    from open_clip.factory import CLIP, CustomTextCLIP

    config: dict[str, Any] = dict(open_clip.get_model_config(name) or {})
    custom = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    shapes = {k: config[k] for k in ("embed_dim", "vision_cfg", "text_cfg")}
    with torch.device("meta"):
        model: Any = (CustomTextCLIP if custom else CLIP)(**shapes).eval()
    side = model.visual.image_size
    side = side[0] if isinstance(side, tuple | list) else side
    pixels = torch.zeros(BATCH, 3, side, side, device="meta")
    gflop, gib = measure(model, lambda: model.encode_image(pixels), BATCH)
    image = count(model.visual)
    return Cost(image / 1e6, (count(model) - image) / 1e6, gflop, gib)


def compute_tips() -> Cost:
    """Compute the cost of TIPSv2 B/14."""
    from transformers import Tipsv2Config, Tipsv2Model

    with torch.device("meta"):
        model = Tipsv2Model(Tipsv2Config()).eval()
    pixels = torch.zeros(BATCH, 3, 448, 448, device="meta")
    gflop, gib = measure(model, lambda: model.vision_model(pixels), BATCH)
    image = count(model.vision_model)
    return Cost(image / 1e6, (count(model) - image) / 1e6, gflop, gib)


def compute_tower(name: str, side: int) -> Cost:
    """Compute the cost of an image tower of timm."""
    from captionseg.modeling.layers.backbone import build_without_weights

    tower = build_without_weights(name, 0)
    pixels = torch.zeros(BATCH, 3, side, side, device="meta")
    gflop, gib = measure(tower, lambda: tower(pixels), BATCH)
    return Cost(count(tower) / 1e6, 0.0, gflop, gib)


def compute_grounding_dino() -> Cost:
    """Compute the cost of Grounding DINO with Swin-T; it does not run without numbers."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    model = GroundingDinoForObjectDetection(GroundingDinoConfig()).eval()
    pixels, ids = torch.zeros(1, 3, 800, 1066), torch.ones(1, TOKENS, dtype=torch.long)
    run = functools.partial(model, pixel_values=pixels, input_ids=ids)
    gflop, gib = measure(model, run, 1, device="cpu")
    text = count(model.model.text_backbone)
    return Cost((count(model) - text) / 1e6, text / 1e6, gflop, gib)


def compute_sam(arch: str) -> Cost:
    """Compute the cost of Segment Anything's image encoder, which takes nearly all of the time."""
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        model = sam_model_registry[arch]().eval()
    pixels = torch.zeros(1, 3, 1024, 1024, device="meta")
    gflop, gib = measure(model, lambda: model.image_encoder(pixels), 1)
    return Cost(count(model) / 1e6, 0.0, gflop, gib)


def compute_sam2(width: int, heads: int, blocks: tuple[int, ...]) -> Cost:
    """Compute the cost of a SAM 2.1's image encoder.

    Args:
        width: of the first stage; each further one has twice as many channels.
        heads: of the first stage, likewise.
        blocks: number of blocks of each stage.
    """
    from transformers import Sam2Config, Sam2Model

    widths = [width * 2**n for n in range(len(blocks))]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": list(blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * 2**n for n in range(len(blocks))],
        "global_attention_blocks": list(HIERA_GLOBAL[width]),
    }
    config = {"backbone_config": backbone, "backbone_channel_list": widths[::-1]}
    with torch.device("meta"):
        model = Sam2Model(Sam2Config(vision_config=config)).eval()
    pixels = torch.zeros(1, 3, 1024, 1024, device="meta")
    gflop, gib = measure(model, lambda: model.vision_encoder(pixels), 1)
    return Cost(count(model) / 1e6, 0.0, gflop, gib)


def compute_owlv2(width: int, patch: int, side: int) -> Cost:
    """Compute the cost of an OWLv2.

    Args:
        width: of the image encoder; a head has 64 channels, and the depth is 12, or 24 from 1024.
        patch: side of a patch in pixels.
        side: side of the pictures in pixels.
    """
    from transformers import Owlv2Config, Owlv2ForObjectDetection

    vision = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": 24 if width >= 1024 else 12,
        "num_attention_heads": width // 64,
        "patch_size": patch,
        "image_size": side,
    }
    words = 768 if width >= 1024 else 512
    text = {
        "hidden_size": words,
        "intermediate_size": 4 * words,
        "num_attention_heads": words // 64,
    }
    config = Owlv2Config(vision_config=vision, text_config=text, projection_dim=words)
    with torch.device("meta"):
        model = Owlv2ForObjectDetection(config).eval()
    pixels = torch.zeros(1, 3, side, side, device="meta")
    gflop, gib = measure(model, lambda: model.owlv2.vision_model(pixels), 1)
    encoder = count(model.owlv2.text_model)
    return Cost((count(model) - encoder) / 1e6, encoder / 1e6, gflop, gib)


def compute_sam3() -> Cost:
    """Compute the cost of SAM 3."""
    from transformers import Sam3Config, Sam3Model

    with torch.device("meta"):
        model = Sam3Model(Sam3Config()).eval()
    pixels = torch.zeros(1, 3, 1008, 1008, device="meta")
    gflop, gib = measure(model, lambda: model.vision_encoder(pixels), 1)
    text = count(model.text_encoder)
    return Cost((count(model) - text) / 1e6, text / 1e6, gflop, gib)


def list_parts() -> dict[str, Callable[[], Cost]]:
    """Return name -> function that computes the cost."""
    parts: dict[str, Callable[[], Cost]] = {}
    for name in ENCODERS:
        parts[f"open_clip {name}"] = lambda name=name: compute_encoder(name)
    parts["tips B/14"] = compute_tips
    for name, side in TOWERS.items():
        parts[f"networks {name} at {side}"] = lambda name=name, side=side: compute_tower(name, side)
    parts["grounding_dino, Swin-T"] = compute_grounding_dino
    parts["owlv2, ViT-B/16"] = functools.partial(compute_owlv2, 768, 16, 960)
    parts["owlv2, ViT-L/14"] = functools.partial(compute_owlv2, 1024, 14, 1008)
    parts["sam3"] = compute_sam3
    for arch in ("vit_b", "vit_l", "vit_h"):
        parts[f"sam, {arch}"] = lambda arch=arch: compute_sam(arch)
    for name, sizes in HIERA.items():
        parts[f"sam2, hiera-{name}"] = functools.partial(compute_sam2, *sizes)
    return parts


def compute_all(pattern: str) -> Iterator[tuple[str, Cost]]:
    """Yield (name, cost) of the parts whose name contains a text."""
    for name, compute in list_parts().items():
        if pattern in name:
            yield name, compute()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m perf.part_costs", description=str(__doc__).splitlines()[0]
    )
    parser.add_argument("pattern", nargs="?", default="", metavar="PATTERN")
    print(f"{'':52} image M  text M  GFLOP a picture   GiB")
    for name, cost in compute_all(parser.parse_args().pattern):
        print(f"{name:52} {cost.image:7.0f}  {cost.text:6.0f}  {cost.gflop:15.1f}  {cost.gib:4.1f}")


if __name__ == "__main__":
    main()
