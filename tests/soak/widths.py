"""Narrower captions for the same pictures: how much captions leave out, as an axis.

    python -m tests.soak.widths ROOT OUT --share 0.5     # half of the concepts, at least one
    python -m tests.soak.widths ROOT OUT --share 0       # one concept

ROOT is Flickr8k as the archive on Kaggle has it (Images/ and captions.txt). OUT gets the same
images, by hard links, and a captions.txt in which the first caption of an image names some of the
concepts that it named ("there is a dog and a ball here"), drawn at random; the others stay as they
are and measure. `make flickr8k ROOT=OUT` then trains on it.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
from pathlib import Path

import numpy as np

from captionseg.text.corpus_vocabulary import build
from captionseg.text.vocabulary import Vocabulary, VocabularyParams


def narrow(caption: str, vocabulary: Vocabulary, share: float, rng: np.random.Generator) -> str:
    """A caption that names this share of the concepts of another, at least one; the caption itself
    where it names none.
    """
    numbers = sorted({match.number for match in vocabulary.read(caption)[1]})
    if not numbers:
        return caption
    drawn = rng.permutation(numbers)[: max(1, math.ceil(share * len(numbers)))]
    names = [f"a {vocabulary.concepts[number]}" for number in drawn]
    head = ", ".join(names[:-1])
    return f"there is {head + ' and ' if head else ''}{names[-1]} here"


def main() -> None:
    """Write OUT."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, required=True)
    arguments = parser.parse_args()
    with (arguments.root / "captions.txt").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    first = {name: caption for name, caption in reversed(rows)}
    vocabulary = build(list(first.values()), VocabularyParams())
    rng, seen = np.random.default_rng(0), set()
    (arguments.out / "Images").mkdir(parents=True)
    for name in first:
        os.link(arguments.root / "Images" / name, arguments.out / "Images" / name)
    with (arguments.out / "captions.txt").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for name, caption in rows:
            if name not in seen:
                caption = narrow(caption, vocabulary, arguments.share, rng)
            seen.add(name)
            writer.writerow([name, caption])


if __name__ == "__main__":
    main()
