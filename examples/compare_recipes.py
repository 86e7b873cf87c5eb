"""Compares two recipes on one picture: how far they agree, and both overlays side by side.

python examples/compare_recipes.py models/nouns-mil models/cocu-mil zebra.jpg zebra grass
"""

import sys
from pathlib import Path

from PIL import Image

import captionseg


def main(one: str, other: str, picture: str, *labels: str) -> None:
    """Compare two models.

    Args:
        one: folder of a model.
        other: folder of another.
        picture: a file.
        labels: words.
    """
    models = [captionseg.load(one), captionseg.load(other)]
    first, second = (model.segment(picture, labels) for model in models)
    agreed = (first.mask == second.mask).mean()
    print(f"{models[0].name} and {models[1].name} agree on {100 * agreed:.1f} % of the pixels")
    for number, label in enumerate(labels):
        shares = [100 * result.shares[number] for result in (first, second)]
        print(f"{label:12} {shares[0]:5.1f} % {shares[1]:5.1f} %")
    left, right = first.overlay(), second.overlay()
    page = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    page.paste(left, (0, 0))
    page.paste(right, (left.width, 0))
    out = f"{Path(picture).stem}_compared.png"
    page.save(out)
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
