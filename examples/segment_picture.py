"""Segments one picture by words, prints what covers how much, and writes an overlay.

    python examples/segment_picture.py zebra.jpg zebra grass "sky; clouds"

The model is the best there is: your own champion in models/, or else the one that came with
captionseg.
"""

import sys
from pathlib import Path

import captionseg


def main(picture: str, *labels: str) -> None:
    """Segment a picture.

    Args:
        picture: its file.
        labels: words; several names of one label have semicolons between.
    """
    model = captionseg.load()
    result = model.segment(picture, labels)
    for label, share in result.list_shares():
        print(f"{label:12} {100 * share:5.1f} %")
    out = f"{Path(picture).stem}_segments.png"
    result.overlay().save(out)
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
