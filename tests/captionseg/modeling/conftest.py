"""Random batches, and two ranks that gather from each other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import timm
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from torch.nn import functional as F
from transformers import BertConfig, BertModel

from captionseg.encoders.text_tower import BertTower
from captionseg.model_inputs import Batch, Inputs, MaskedCaptions, NamedSegments, Tokens
from captionseg.modeling.layers.backbone import Network
from captionseg.modeling.segmenter import Segmenter

REGION, TEXT, CONCEPTS, DENSE = 7, 6, 12, 5
OTHERS = ("a", "photo", "of", "with")
FIRST = 4 + len(OTHERS)  # token of the first concept; before them the special ones


def tiny_tower(seed: int = 0) -> BertTower:
    """A random BERT as wide as the joint space, whose words are `w0`, `w1` .. for concepts, and
    OTHERS.
    """
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *OTHERS, *(f"w{c}" for c in range(CONCEPTS))]
    encode = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    encode.pre_tokenizer = WhitespaceSplit()
    encode.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = {
        "hidden_size": TEXT,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 12,
        "vocab_size": len(words),
        "max_position_embeddings": 24,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    }
    torch.manual_seed(seed)
    weights = BertModel(BertConfig(**config), add_pooling_layer=False).state_dict()
    return (
        BertTower(
            {k: 10.0 * v if "embeddings" in k else v for k, v in weights.items()},
            config,
            encode,
            context=20,
        )
        .eval()
        .requires_grad_(False)
    )


@pytest.fixture(scope="session")
def networks(tmp_path_factory) -> tuple[Network, ...]:
    """A ViT of patches of 16 pixels and a convolutional network of cells of 32, random weights in
    files.
    """
    folder = tmp_path_factory.mktemp("towers")
    torch.manual_seed(0)
    for name in ("test_vit", "test_resnet"):
        save_file(
            timm.create_model(name, pretrained=False).state_dict(), folder / f"{name}.safetensors"
        )
    return tuple(
        Network(name, str(folder / f"{name}.safetensors"), blocks)
        for name, blocks in (("test_vit", 3), ("test_resnet", 2))
    )


@pytest.fixture(scope="session")
def tower() -> BertTower:
    return tiny_tower()


def named(sentences: list[str], tower: BertTower) -> Tensor:
    """Tokens of sentences, padded to one length."""
    return F.pad(found := tower.tokens(sentences), (0, 12 - found.shape[1]))


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """images, regions, texts, drawn (per image, how many of the texts are real), seed -> a random
    batch.
    """

    def make(
        images: int = 8,
        regions: int = 5,
        texts: int = 3,
        drawn: list[int] | None = None,
        seed: int = 0,
    ) -> Batch:
        g = torch.Generator().manual_seed(seed)
        count = torch.randint(1, regions + 1, (images, 1), generator=g)
        concept = torch.stack(
            [torch.randperm(CONCEPTS, generator=g)[:texts] for _ in range(images)]
        )
        if drawn is not None:
            concept = torch.where(torch.arange(texts) < torch.tensor(drawn)[:, None], concept, -1)
        table = torch.randn(CONCEPTS, TEXT, generator=g)
        return Batch(
            torch.randn(images, regions, REGION, generator=g),
            torch.arange(regions) < count,
            torch.randn(images, TEXT, generator=g),
            concept[:, :2],
            table[concept.clamp(min=0)],
            concept,
            torch.cat([concept, torch.randint(-1, CONCEPTS, (images, 2), generator=g)], 1),
            dense=torch.randn(images, 3, 4, DENSE, generator=g),
            tokens=texts_of(concept),
            masked=MaskedCaptions(concept[:, :2], embedding=torch.randn(images, TEXT, generator=g)),
            segments=NamedSegments(
                torch.rand(images, texts, 3, 4, generator=g),
                table[concept.clamp(min=0)],
                concept,
                torch.stack([concept, concept.roll(1, 1)], 2),
            ),
            image=torch.randn(images, 3, 48, 64, generator=g),
        )

    return make


def texts_of(concept: Tensor) -> Tokens:
    """Captions that name the first two of the concepts [B, L], prompts and names of all, in tokens
    of `tiny_tower`.
    """
    tower, words = (
        tiny_tower(),
        [[f"w{c}" if c >= 0 else "" for c in row] for row in concept.tolist()],
    )
    captions = named([f"a {row[0]} with {row[1]}" for row in words], tower)
    flat = list(itertools.chain.from_iterable(words))
    prompts, names = (
        named([text.format(w) for w in flat], tower).unflatten(0, concept.shape)
        for text in ("a photo of a {}", "{}")
    )
    belongs = torch.where(captions >= FIRST, captions - FIRST, -1)
    return Tokens(captions, prompts, names, belongs)


@pytest.fixture
def make_inputs() -> Callable[..., Inputs]:
    """images, regions, side of the grid of labels, size -> random inputs; every region is
    somewhere.
    """

    def make(
        images: int = 2, regions: int = 4, side: int = 6, size: tuple[int, int] = (9, 13)
    ) -> Inputs:
        g = torch.Generator().manual_seed(0)
        labels = torch.arange(side * side).reshape(side, side) * regions // (side * side)
        return Inputs(
            torch.randn(images, regions, REGION, generator=g),
            torch.ones(images, regions, dtype=torch.bool),
            labels.to(torch.uint8).expand(images, -1, -1),
            size,
            dense=torch.randn(images, 3, 4, DENSE, generator=g),
            image=torch.randn(images, 3, 48, 64, generator=g),
        )

    return make


def rows(batch: Batch, part: slice) -> Batch:
    return batch.map(lambda tensor: tensor[part])


class Ranks:
    """Ranks of one process: each is a thread, and `gather` waits for what the others have to
    say."""

    def __init__(self, world: int) -> None:
        self.world, self.said, self.barrier = (
            world,
            [None] * world,
            threading.Barrier(world, timeout=240),
        )

    def gather(self, rank: int) -> Callable[[Tensor], Tensor]:
        def gather(tensor: Tensor) -> Tensor:
            self.said[rank] = tensor
            self.barrier.wait()
            everything = torch.cat(self.said)  # type: ignore[arg-type]
            self.barrier.wait()
            return everything

        return gather

    def losses(self, model: Segmenter, batch: Batch) -> list[dict[str, Tensor]]:
        """Each rank's losses of its part of the batch."""
        size = len(batch.regions) // self.world
        outputs = [model(rows(batch, slice(r * size, (r + 1) * size))) for r in range(self.world)]
        with ThreadPoolExecutor(self.world) as pool:
            jobs = [
                pool.submit(model.losses, outputs[r], self.gather(r), rank=r)
                for r in range(self.world)
            ]
            return [job.result() for job in jobs]


@pytest.fixture
def ranks() -> Callable[[int], Ranks]:
    return Ranks
