"""Finds the weights that open_clip knows by a tag, and recognises released files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captionseg.records import UserError, one_line

WHERE = "index.open_clip"
SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")


def find_weights(model: str, pretrained: str) -> tuple[Path, Mapping[str, Any] | None, bool]:
    """Find the file of weights; a tag is downloaded.

    Args:
        model: name of the model in open_clip.
        pretrained: tag of the weights, or path of a file.

    Returns:
        the file, what open_clip knows about it (None for an unknown file), and whether it was
        downloaded.

    Raises:
        UserError: for a tag or a file that is not there.
    """
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    is_file = Path(pretrained).suffix in SUFFIXES or "/" in pretrained
    if not is_file:
        tags = open_clip.list_pretrained_tags_by_model(model)
        if pretrained not in tags:
            raise UserError(
                f"{WHERE}.pretrained: no tag {pretrained!r} for {model} (tags: "
                f"{', '.join(tags) or 'none'}); or give the path of a checkpoint"
            )
        tag: dict[str, Any] = get_pretrained_cfg(model, pretrained)
        try:
            return Path(open_clip.download_pretrained(tag)), tag, True
        except Exception as error:  # whatever a client of the network may raise
            raise UserError(
                f"{WHERE}: cannot download the weights of {model}, {pretrained}: "
                f"{one_line(error)}; give the path of a file"
            ) from None
    if not Path(pretrained).is_file():
        raise UserError(f"{WHERE}.pretrained: no such file: {pretrained}")
    return Path(pretrained), find_release(Path(pretrained), model), False


def find_release(path: Path, model: str) -> Mapping[str, Any] | None:
    """Return what open_clip knows about a file, or None.

    A file is recognised by the name of its release, or by its folder in the hub's cache. OpenAI's
    names are not, because other files may have them; OpenAI's files are recognised by their format.
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
