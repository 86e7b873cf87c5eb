"""Finds image files and the caption files that belong to them."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from captionseg.sources.folders.picture_files import is_picture
from captionseg.sources.reasons import Refusal


class PairedFile(NamedTuple):
    """An image file with its caption file, or a file that is refused.

    Attributes:
        path: of the image, below the folder.
        caption: path of its caption file; empty where there is none.
        refusal: why it is not used; None where it is.
    """

    path: str
    caption: str
    refusal: Refusal | None


def walk_files(top: Path, caption_suffix: str) -> Iterator[PairedFile]:
    """Yield images with captions, captions without an image, and folders that are not entered."""
    refused: list[OSError] = []
    for folder, inner, names in os.walk(top, onerror=refused.append):
        below = os.path.relpath(folder, top)
        base = "" if below == "." else below + "/"
        visible = {name for name in names if not name.startswith(".")}
        captions = [
            name for name in sorted(visible) if name.lower().endswith(caption_suffix.lower())
        ]
        pictures = [
            name
            for name in sorted(visible - set(captions))
            if is_picture(os.path.join(folder, name))
        ]
        for name, caption, refusal in pair_files(pictures, captions, caption_suffix):
            yield PairedFile(base + name, base + caption if caption else "", refusal)
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in inner:
            if os.path.islink(os.path.join(folder, name)):
                text = "a symbolic link to a folder, not followed"
                yield PairedFile(base + name, "", Refusal("unreadable_file", text))
    for error in refused:
        text = f"folder cannot be read: {error.strerror}"
        yield PairedFile(os.path.relpath(error.filename, top), "", Refusal("unreadable_file", text))


def pair_files(
    pictures: Sequence[str], captions: Sequence[str], suffix: str
) -> Iterator[PairedFile]:
    """Pair the files of one folder by name.

    The caption of photo.png is photo.png.txt, or else photo.txt. Unicode forms do not matter, and
    if nothing else fits, neither does case. A caption belongs to one image.
    """
    files: dict[str, list[str]] = {}
    for name in captions:
        stem = unicodedata.normalize("NFC", name[: -len(suffix)])
        files.setdefault(stem, []).append(name)
        files.setdefault("/" + stem.casefold(), []).append(name)
    owner: dict[str, str] = {}
    claims = {name: claim_captions(name, files, "") for name in pictures}
    for name in [*filter(claims.get, pictures), *(name for name in pictures if not claims[name])]:
        candidates = claims[name] or claim_captions(name, files, "/")
        if len(candidates) > 1:
            owner.update(dict.fromkeys(candidates, name))
            text = f"several captions, {' and '.join(candidates)}; leave one"
            yield PairedFile(name, "", Refusal("bad_caption", text))
        elif candidates and (first := owner.setdefault(candidates[0], name)) != name:
            text = f"its caption {candidates[0]} is of {first} too; give it one of its own, "
            yield PairedFile(name, "", Refusal("no_caption", text + name + suffix))
        else:
            yield PairedFile(name, candidates[0] if candidates else "", None)
    for name in captions:
        if name not in owner:
            text = "a caption without a picture beside it"
            yield PairedFile(name, "", Refusal("no_picture", text))


def claim_captions(picture: str, files: Mapping[str, list[str]], kind: str) -> list[str]:
    """The caption files that fit the name of an image.

    Args:
        picture: name of the image file.
        files: stem -> caption files; of stems without case, "/" stands in front.
        kind: "/" ignores case, "" does not.
    """
    for stem in (picture, os.path.splitext(picture)[0]):
        stem = unicodedata.normalize("NFC", stem)
        if candidates := files.get(kind + (stem.casefold() if kind else stem)):
            return candidates
    return []
