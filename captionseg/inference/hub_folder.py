"""Writes a saved model as a folder that a hub of models takes: safetensors, config and card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captionseg import __version__
from captionseg.inference.class_embeddings import TOKENIZER
from captionseg.inference.model_encoder import find_encoder
from captionseg.inference.other_words import read_concepts
from captionseg.modeling.weights import saved
from captionseg.records import UserError
from captionseg.storage.markdown import escape
from captionseg.storage.writing import atomic_path

CARD = "README.md"
CHECKPOINT = "pretrained"
"""Field of an encoder's params that may name a file outside of the folder."""
SHOWN = 12
"""Concepts that the card names."""


def export_hub(folder: Path, target: Path, *, licence: str = "") -> str:
    """Write a model so that `captionseg segment --model TARGET` can use it anywhere.

    Args:
        folder: folder of the model.
        target: folder to write, which must be empty or missing.
        licence: identifier of the weights' licence for the card, such as apache-2.0.

    Returns:
        a line for people: what was written, and what is missing in it.

    Raises:
        UserError: for a folder without a model, or a target that is not empty.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(
            f"{target}: is there already and not an empty folder; name another one to write"
        )
    stored, encoder = saved.load(folder), find_encoder(folder)
    with atomic_path(target) as part:
        part.mkdir()
        for name in ("model.safetensors", "config.json", saved.CONCEPTS):
            source = next((at for at in (folder, encoder.parent) if (at / name).exists()), None)
            if source is not None:
                shutil.copyfile(source / name, part / name)
        for source, name in ((encoder, "encoder"), (folder / TOKENIZER, TOKENIZER)):
            if source.is_dir():
                shutil.copytree(source, part / name)
        card = "\n".join(write_card(folder, stored, licence))
        (part / CARD).write_text(card, encoding="utf-8")
        saved.load(part)
    missing = [
        *([] if licence else ["no licence, name it by --license"]),
        *describe_outside_files(target / "encoder"),
        *describe_outside_weights(stored.model.config),
    ]
    return f"{target}: a {stored.name} ready to be pushed{''.join(f'; {m}' for m in missing)}"


def describe_outside_files(encoder: Path) -> Iterator[str]:
    """Yield what a model needs that is not in its folder and comes with no package."""
    path = encoder / "encoder.json"
    params: dict[str, Any] = (
        json.loads(path.read_text(encoding="utf-8"))["params"] if path.exists() else {}
    )
    if Path(str(params.get(CHECKPOINT, ""))).is_absolute():
        yield f"its encoder reads {params[CHECKPOINT]}, which who loads it needs too"


def describe_outside_weights(config: Any) -> Iterator[str]:
    """Yield the folder of weights that a model reads whenever it is used."""
    if getattr(config, "needs_weights", False):
        yield f"it reads {config.weights}, which who loads it needs too"


def write_card(folder: Path, stored: saved.SavedModel, licence: str) -> Iterator[str]:
    """Yield the lines of the card; its head is YAML, as hubs read it.

    Args:
        folder: folder of the model, whose own card says how it was trained.
        stored: the model.
        licence: see `export_hub`.
    """
    name = str(stored.context.get("recipe") or folder.absolute().name)
    tags = ["open-vocabulary", "zero-shot", "semantic-segmentation", "captions", stored.name]
    yield from ("---", "library_name: captionseg", "pipeline_tag: image-segmentation")
    if licence:
        yield f"license: {json.dumps(licence)}"
    yield from ("tags:", *(f"- {json.dumps(tag)}" for tag in tags), "---", f"# {escape(name)}", "")
    yield (
        f"Labels each pixel of a picture with one of any given words. A `{stored.name}`, trained "
        f"by captionseg {__version__} on captioned pictures without masks."
    )
    concepts = read_concepts(folder) or read_concepts(find_encoder(folder).parent)
    if concepts:
        some = ", ".join(escape(word) for word in concepts[:SHOWN])
        yield (
            f"\nIts training texts name {len(concepts):,} concepts (`{saved.CONCEPTS}`), most "
            f"often {some}. It is at its best with these and with words close to them, on pictures "
            "like those of its training."
        )
    yield from ("", "## Use", "", "```")
    yield 'captionseg segment picture.jpg --labels "zebra, grass" --model FOLDER'
    yield from ("```", "")
    own = folder / CARD
    if own.exists():
        # its title and its way of use are those of another folder
        text = own.read_text(encoding="utf-8").partition("\n")[2].partition(" Use it:")[0].strip()
        yield from ("## Training", "", text, "")
